"""Live counters as Hypothesis draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from router_service.routing.counters import Counters

if TYPE_CHECKING:
    from collections.abc import Sequence


def counters_of(names: Sequence[str]) -> st.SearchStrategy[dict[str, Counters]]:
    """Of some of these models."""
    drawn = st.builds(
        Counters,
        in_flight=st.integers(0, 5),
        wait_s=st.floats(0, 1000),
        paused_s=st.floats(0, 10),
        room=st.integers(0, 5),
        broken_s=st.just(0.0) | st.floats(0, 10),
        latency_s=st.none() | st.floats(0, 100),
        is_failing=st.booleans(),
        used_tpm=st.none() | st.floats(0, 1e6),
    )
    return st.dictionaries(st.sampled_from(names), drawn)
