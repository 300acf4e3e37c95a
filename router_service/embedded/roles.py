"""The processes of a stack: what `waybill up` runs, with which words and environment."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router_service.embedded.ports import LOOPBACK
from router_service.embedded.supervisor import Child

if TYPE_CHECKING:
    from pathlib import Path

READINESS_ROLES = "router,provider,dead-letter,janitor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that the roles have to know. `flower_port` is None where Flower is not wanted."""

    data_dir: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    config: Path | None
    host: str
    port: int
    workers: int
    flower_port: int | None
    flower_password: str = field(repr=False)


def default_roles(plan: Plan) -> list[Child]:
    """In the order in which they start, and are asked to stop: what takes work in comes first."""
    env = _environment(plan)
    children = [
        _child("api", "api", "--host", plan.host, "--port", str(plan.port), env=env),
        _child("router", "worker", "router", env=env),
        *(_child(f"provider-{number}", "worker", "provider", env=env) for number in range(1, plan.workers + 1)),
        _child("dead-letter", "worker", "dead-letter", env=env),
        _child("janitor", "janitor", env=env),
    ]
    if plan.flower_port is not None:
        secret = env | {"WAYBILL_FLOWER_PASSWORD": plan.flower_password}
        children.append(_child("flower", "flower", "--port", str(plan.flower_port), env=secret))
    return children


def _environment(plan: Plan) -> dict[str, str]:
    ours = {
        "WAYBILL_DATABASE_URL": plan.database_url,
        "WAYBILL_REDIS_URL": plan.redis_url,
        "WAYBILL_BROKER_URL": plan.broker_url,
        "WAYBILL_DATA_DIR": str(plan.data_dir),
        "WAYBILL_READINESS_ROLES": READINESS_ROLES,
        "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), LOOPBACK))),
    }
    if plan.config is not None:
        ours["WAYBILL_CONFIG"] = str(plan.config.resolve())
    return {**os.environ, **ours}


def _child(name: str, *words: str, env: dict[str, str]) -> Child:
    return Child(name=name, argv=(sys.executable, "-m", "router_service.cli.main", *words), env=env)
