"""The provider of the fault tests: the oracle of the benchmarks, in a process of its own that no fault touches."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import httpx

from router_service.embedded.ports import LOOPBACK
from tests.faults.checker import Seen
from tests.support.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from router_service.evaluation.allowance import Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleProcess:
    """Where it is, and what it has seen."""

    url: str

    def log(self) -> dict[str, Any]:
        return cast("dict[str, Any]", httpx.get(f"{self.url}/log", timeout=10, trust_env=False).json())

    def calls(self, *, tags: str = "") -> list[Seen]:
        """The calls whose tags begin so, refused ones too."""
        return [Seen(**call) for call in self.log()["calls"] if call["tag"].startswith(tags)]


@contextmanager
def running_oracle(offers: Mapping[str, Offer], *, root: Path) -> Iterator[OracleProcess]:
    spec = root / "oracle.json"
    spec.write_text(json.dumps({"models": {name: asdict(offer) for name, offer in offers.items()}}))
    words = [sys.executable, "-m", "router_service.evaluation.oracle", "--spec", str(spec)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=clean_environment(root), text=True) as process:
        try:
            assert process.stdout is not None
            yield OracleProcess(url=f"http://{LOOPBACK}:{int(process.stdout.readline())}")
        finally:
            process.terminate()
