"""What it costs to extract signals: CPU by extractor, over requests in batches as the router takes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from router_service.signals.extract import DEFAULT, extract

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from router_service.signals.extract import Extractor
    from router_service.signals.request import Request

BATCH = 500
TOTAL = "total"


def cpu_us(
    requests: Sequence[Request],
    *,
    extractors: Sequence[Extractor] = DEFAULT,
    rounds: int = 5,
    clock_s: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Microseconds of CPU per request: of each extractor by its name, and of `extract` with all of them as `total`.

    The least of `rounds`, after one that is not counted, in which models are loaded. Raises ValueError without requests.
    """
    if not requests or rounds < 1:
        raise ValueError("cpu_us: at least one request and one round are needed")
    batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]

    def spent(work: Callable[[Sequence[Request]], object]) -> float:
        best_s = float("inf")
        for _round in range(rounds + 1):
            started_s = clock_s()
            for batch in batches:
                work(batch)
            best_s = min(best_s, clock_s() - started_s)
        return round(best_s / len(requests) * 1e6, 2)

    costs = {extractor.name: spent(extractor.extract) for extractor in extractors}
    return costs | {TOTAL: spent(lambda batch: extract(batch, extractors))}
