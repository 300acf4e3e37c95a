"""`python -m workers ROLE`: router, provider, dead-letter, janitor or flower. The command `waybill` calls this."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import sys
from typing import TYPE_CHECKING, Any

from celery.apps.worker import Worker

from router_service import failpoints
from router_service import settings as settings_module
from router_service.errors import UnavailableError, WaybillError
from router_service.routing.methods import load_methods
from router_service.store import catalogs
from router_service.store.session import Database
from router_service.telemetry import logs
from workers import consumer
from workers.app import make_app, queues_of, register
from workers.flower import run_flower
from workers.pool import AsyncioPool
from workers.runtime import Runtime

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog
    from router_service.settings import Settings
    from workers.pool import Service
    from workers.providers.base import Adapter

WAIT_FOR_CATALOG_S = 1.0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workers", description=__doc__)
    parser.add_argument("role", choices=["router", "provider", "dead-letter", "janitor", "flower"])
    parser.add_argument("--name", help="unique among live workers; made up where it is not given")
    parser.add_argument("--address", default="127.0.0.1", help="where Flower listens; another one only in a container")
    parser.add_argument("--port", type=int, default=5555, help="Flower's port")
    given = parser.parse_args(arguments)
    try:
        settings = settings_module.load()
        logs.configure(level=settings.log_level, style=settings.log_format, role=given.role)
        failpoints.arm(settings.failpoint, lease_s=settings.lease_s)
        name = given.name or f"{given.role}-{secrets.token_hex(4)}"
        if given.role == "flower":
            password = os.environ.get("WAYBILL_FLOWER_PASSWORD")
            return run_flower(make_app(settings), settings, address=given.address, port=given.port, password=password)
        if given.role == "janitor":
            asyncio.run(_run_janitor(settings, name))
            return 0
        return _run_celery(settings, given.role, name)
    except WaybillError as error:
        print(f"waybill: {error}", file=sys.stderr)  # noqa: T201 (the operator's terminal)
        return 1


def _run_celery(settings: Settings, role: str, name: str) -> int:
    """A Celery worker with our pool, on the queues of its role. Blocks until SIGTERM; returns the exit code."""
    consumer.install()
    app = make_app(settings)
    runtime = Runtime(settings, role=role, name=name)
    app.service, handle = _service(settings, role, runtime)
    register(app, role, handle)
    catalog = asyncio.run(_first_catalog(settings))
    worker = Worker(
        app=app,
        hostname=f"{name}@{os.uname().nodename}",
        pool=AsyncioPool,
        consumer_cls=consumer.TicketConsumer,
        concurrency=settings.worker_concurrency,
        queues=queues_of(role, catalog),
        loglevel=settings.log_level.upper(),
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        task_events=True,
    )
    runtime.follow(lambda newer: _consume(worker, queues_of(role, newer)))
    worker.start()
    return int(worker.exitcode or 0)


def _service(settings: Settings, role: str, runtime: Runtime) -> tuple[Service, Any]:
    """Each role loads what it needs: the provider worker no predictor, the others no adapters."""
    if role == "router":
        from workers.insights import open_insights  # noqa: PLC0415
        from workers.router import Router  # noqa: PLC0415

        router = Router(runtime, open_insights(settings), methods=load_methods())
        return router, router.ring
    if role == "dead-letter":
        from workers.dead_letter import DeadLetterWorker  # noqa: PLC0415
        from workers.insights import open_insights  # noqa: PLC0415

        dead_letter = DeadLetterWorker(runtime, open_insights(settings), methods=load_methods())
        return dead_letter, dead_letter.settle
    from workers.provider import ProviderWorker  # noqa: PLC0415
    from workers.providers.local.adapter import LocalAdapter  # noqa: PLC0415
    from workers.providers.openai_wire import OpenAIWireAdapter  # noqa: PLC0415
    from workers.providers.simulated import SimulatedAdapter  # noqa: PLC0415

    adapters: dict[str, Adapter] = {
        "openai": OpenAIWireAdapter(),
        "local": LocalAdapter(processes=settings.local_processes),
        "simulated": SimulatedAdapter(),
    }
    provider = ProviderWorker(runtime, adapters=adapters)
    return provider, provider.call


def _consume(worker: Any, queues: list[str]) -> None:
    """Consume what the catalog has now, from the hub's thread. A queue that is no longer in it is left to run dry."""

    def add_missing() -> None:
        consuming: Any = getattr(worker.consumer, "task_consumer", None)
        if consuming is None:
            return  # the broker is not connected; the next look comes in a second
        for queue in queues:
            if not consuming.consuming_from(queue):
                worker.consumer.add_task_queue(queue)

    if worker.hub is not None:
        worker.hub.call_soon(add_missing)


async def _first_catalog(settings: Settings) -> Catalog:
    """Wait until the database answers and a catalog is in force."""
    database = Database(settings.database_url.get_secret_value(), pool=1, name="waybill-start")
    try:
        while True:
            try:
                async with database.transaction() as session:
                    newest = await catalogs.newer_than(session, 0)
                if newest is not None:
                    return newest[1]
            except UnavailableError as error:
                logs.logger(__name__).warning("waiting for the database", error=str(error))
            await asyncio.sleep(WAIT_FOR_CATALOG_S)
    finally:
        await database.close()


async def _run_janitor(settings: Settings, name: str) -> None:
    from workers.insights import open_insights  # noqa: PLC0415
    from workers.janitor import Janitor  # noqa: PLC0415
    from workers.planner import Planner  # noqa: PLC0415

    runtime = Runtime(settings, role="janitor", name=name)
    janitor = Janitor(runtime, Planner(runtime, open_insights(settings), methods=load_methods()))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await janitor.open()
    await stop.wait()
    await janitor.close()


if __name__ == "__main__":
    sys.exit(main())
