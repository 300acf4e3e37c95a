"""A job in a provider worker: from its ticket to the end of its call."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from router_service.capacity.limiter import Need
    from router_service.capacity.scopes import Scope
    from router_service.store.calls import Claim
    from router_service.tickets import Ticket


@dataclass(slots=True, eq=False)
class Job:
    """A ticket's way through this worker. `claim` once it is claimed, `need` once capacity was asked for.

    Times are the loop's: `since` it came, `ready_at` it was claimed, `held_at` its lease was last prolonged, `ask_at` it is worth
    asking for it, `due` is its start and `earliest` the first moment that its start can have been, `kept_at` its slot was last
    prolonged. `task`: its call; `begun`:
    that runs, so that it can be cancelled; `cut`: nobody waits for it; `ended`: only its end is left to write. `held_by` and
    `held_since`: its own tenant's or batch's limit holds it up.
    """

    model_id: str
    ticket: Ticket
    since: float
    done: asyncio.Event = field(default_factory=asyncio.Event)
    claim: Claim | None = None
    scopes: tuple[Scope, ...] = ()
    need: Need | None = None
    start_ms: int = 0
    due: float = 0.0
    earliest: float = 0.0
    ready_at: float = 0.0
    held_at: float = 0.0
    ask_at: float = 0.0
    kept_at: float = 0.0
    held_by: str | None = None
    held_since: float = 0.0
    task: asyncio.Task[None] | None = None
    begun: bool = False
    cut: bool = False
    ended: bool = False

    @property
    def claimed(self) -> Claim:
        """The claim of a job that has one."""
        assert self.claim is not None, "a job at hand was claimed"  # noqa: S101
        return self.claim

    def cut_off(self) -> None:
        """Stop its call and have it given back. What has ended is written to the end."""
        if self.task is not None and not self.cut and not self.ended:
            self.cut = True
            if self.begun:
                self.task.cancel()
