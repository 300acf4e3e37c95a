"""The catalog of a stack that was given none: the local tiers, which need no key and no network."""

from __future__ import annotations

from typing import Any

# Prices are nominal: they order the tiers by the CPU time that they take.
TIERS = (
    ("local-lead", "local/lead", 1e-8, 0.4),
    ("local-frequency", "local/frequency", 2e-8, 0.5),
    ("local-lexrank", "local/lexrank", 4e-8, 0.6),
)


def builtin_document() -> dict[str, Any]:
    """A document in the dialect of a catalog file."""
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": model, "max_parallel_requests": 8},
                "model_info": {
                    "input_cost_per_token": price,
                    "output_cost_per_token": price,
                    "max_input_tokens": 16_384,
                    "max_output_tokens": 1_024,
                    "router": {"quality": {"default": quality}},
                },
            }
            for name, model, price, quality in TIERS
        ]
    }
