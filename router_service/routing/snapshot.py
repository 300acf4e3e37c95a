"""What one look at the counters saw of all models: the part of a decision that passes, kept so that it can be taken again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.routing.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Counters by model id. Two that say the same have the same `hash`, whatever the order of their models."""

    counters: Mapping[str, Counters]

    @property
    def hash(self) -> str:
        """The first 16 hex digits of SHA-256 over canonical JSON: sorted names, no spaces, ASCII."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        return {model_id: counters.as_json() for model_id, counters in self.counters.items()}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Snapshot:
        return cls(counters={model_id: Counters.from_json(each) for model_id, each in told.items()})
