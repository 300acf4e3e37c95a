"""Flower, on the loopback interface unless told otherwise: read-only, behind a password, with every queue on its broker page."""

from __future__ import annotations

import os
from typing import Any

from router_service.errors import SettingsError

USER = "waybill"


def run_flower(app: Any, *, address: str, port: int, password: str | None) -> int:
    """Serve until stopped. Raises SettingsError without a password: Flower shows every job's id and can be asked for metrics."""
    if not password:
        raise SettingsError("WAYBILL_FLOWER_PASSWORD is not set; Flower does not start without a password")
    # Flower reads these from the environment, so that no secret stands in the process list.
    os.environ["FLOWER_BASIC_AUTH"] = f"{USER}:{password}"
    app.start(
        argv=[
            "flower",
            f"--address={address}",
            f"--port={port}",
            "--read_only=true",
            "--max_tasks=5000",
            "--inspect_timeout=1000",
            "--logging=warning",
        ]
    )
    return 0
