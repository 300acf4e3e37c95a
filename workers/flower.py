"""Flower, on the loopback interface unless told otherwise: read-only, behind a password, with every queue listed."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from flower.views import BaseHandler

from router_service.errors import SettingsError, UnavailableError
from router_service.store import catalogs
from router_service.store.session import Database
from router_service.telemetry.logs import logger
from router_service.tickets import ROUTE_QUEUE, dead_letter_queue, model_queue

if TYPE_CHECKING:
    from router_service.settings import Settings

log = logger(__name__)
USER = "waybill"
FOLLOW_S = 1.0


def run_flower(app: Any, settings: Settings, *, address: str, port: int, password: str | None) -> int:
    """Serve until stopped. Raises SettingsError without a password: Flower shows the id of every job."""
    if not password:
        raise SettingsError("WAYBILL_FLOWER_PASSWORD is not set; Flower does not start without a password")
    queues = CatalogQueues(settings.database_url.get_secret_value())
    queues.start()
    # Flower itself lists only what live workers said that they consume when it started.
    BaseHandler.get_active_queue_names = lambda _handler: queues.names
    # Flower reads this from the environment, so that no secret stands in the process list.
    os.environ["FLOWER_BASIC_AUTH"] = f"{USER}:{password}"
    app.start(
        argv=[
            "flower",
            f"--address={address}",
            f"--port={port}",
            "--read_only=true",
            "--max_tasks=5000",
            "--inspect_timeout=1000",
            "--tasks_columns=name,args,state,received,runtime,worker",
            "--logging=warning",
        ]
    )
    return 0


class CatalogQueues(threading.Thread):
    """The queues of the catalog in force, read again and again beside Flower's own loop. `names` is sorted."""

    def __init__(self, database_url: str) -> None:
        super().__init__(name="catalog-queues", daemon=True)
        self.names = [ROUTE_QUEUE]
        self._database_url = database_url

    def run(self) -> None:
        asyncio.run(self._follow())

    async def _follow(self) -> None:
        database, version = Database(self._database_url, pool=1, name="waybill-flower"), 0
        while True:
            try:
                async with database.transaction() as session:
                    newer = await catalogs.newer_than(session, version)
                if newer is not None:
                    version, catalog = newer
                    of_models = [
                        queue(model.id) for model in catalog.models for queue in (model_queue, dead_letter_queue)
                    ]
                    self.names = sorted([ROUTE_QUEUE, *of_models])
            except UnavailableError as error:
                log.warning("the broker page keeps the queues that it knows", error=str(error))
            await asyncio.sleep(FOLLOW_S)
