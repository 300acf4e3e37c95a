"""Live counters of all models at one instant, named by a hash of what they say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from router_service.routing.policy import Counters

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    counters: Mapping[str, Counters]
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.as_json(), sort_keys=True)
        object.__setattr__(self, "hash", hashlib.sha256(text.encode()).hexdigest()[:16])

    def as_json(self) -> dict[str, Any]:
        return {name: asdict(each) for name, each in self.counters.items()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Snapshot:
        return cls(counters={name: Counters(**each) for name, each in stored.items()})
