"""What `waybill doctor` looks at. Each check asks one thing and says what to do about it; none changes anything."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from router_service.cli.client import ApiClient
from router_service.embedded import binaries
from router_service.errors import CatalogError, SettingsError, StackError, UnavailableError, WaybillError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from router_service.catalog.models import Catalog, Model

PYTHON = (3, 11)
REDIS = (6, 2)
SKEW_WARN_S, SKEW_FAIL_S = 0.5, 5.0
ENVIRONMENT = "os.environ/"
TOKENIZER_PACKAGE = "bpe_openai"  # the extra `tokenizer`


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"  # nothing to do
    WARN = "warn"  # it works, and something else would be better
    FAIL = "fail"  # it does not work until `advice` is followed


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    check: str
    level: Level
    detail: str
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is examined. A URL is empty where neither a setting nor a running stack names one."""

    data_dir: Path
    config: Path | None
    api_url: str | None
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    predictor: Path | None = None


def python(_: Target) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    right = sys.version_info[:2] >= PYTHON
    yield Finding(
        check="python",
        level=Level.OK if right else Level.FAIL,
        detail=version,
        advice="" if right else "install Python 3.11 or newer and make the environment again",
    )


def embedded_binaries(target: Target) -> Iterator[Finding]:
    wanted: tuple[tuple[str, str, Callable[[], Path]], ...] = (
        ("embedded Postgres", target.database_url, lambda: binaries.postgres_binary("postgres")),
        ("embedded Redis", target.redis_url, binaries.valkey_binary),
    )
    for name, url, find in wanted:
        try:
            path = find()
        except StackError as error:
            # With a server of one's own the embedded one is not missed.
            yield Finding(check=name, level=Level.WARN if url else Level.FAIL, detail="not there", advice=str(error))
        else:
            right = os.access(path, os.X_OK)
            advice = "" if right else f"make it executable: chmod +x {path}"
            yield Finding(check=name, level=Level.OK if right else Level.FAIL, detail=str(path), advice=advice)


def data_dir(target: Target) -> Iterator[Finding]:
    folder = target.data_dir
    if not folder.exists():
        yield Finding(check="data dir", level=Level.OK, detail=f"{folder} does not exist yet; `waybill up` makes it")
        return
    mode = folder.stat().st_mode & 0o777
    if not folder.is_dir() or not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(
            check="data dir", level=Level.FAIL, detail=f"{folder} cannot be written",
            advice="choose another one with --data-dir, or run as its owner",
        )  # fmt: skip
    elif mode & 0o077:
        yield Finding(
            check="data dir", level=Level.WARN, detail=f"{folder} has mode {mode:o}: others can look into it",
            advice=f"chmod 700 {folder}",
        )  # fmt: skip
    else:
        free_gb = shutil.disk_usage(folder).free / 1e9
        level = Level.OK if free_gb >= 1 else Level.WARN
        yield Finding(
            check="data dir", level=level, detail=f"{folder}, {free_gb:.1f} GB free",
            advice="" if level is Level.OK else "make room: Postgres stops where the disk is full",
        )  # fmt: skip


def catalog(target: Target) -> Iterator[Finding]:
    """The file's problems, one a line with its path, and whether the keys and tokenizers that it names are there."""
    from router_service.catalog import load  # noqa: PLC0415 slow to load

    if target.config is None:
        yield Finding(check="catalog", level=Level.OK, detail="no file is set (WAYBILL_CONFIG): the built-in one")
        return
    try:
        document = load.parse_document(target.config.read_text(encoding="utf-8-sig"), source=str(target.config))
        built = load.build_catalog(document, source=str(target.config))
    except (OSError, UnicodeDecodeError) as error:
        yield Finding(
            check="catalog", level=Level.FAIL, detail=f"{target.config} cannot be read: {error}",
            advice="name a readable YAML file with WAYBILL_CONFIG or --config",
        )  # fmt: skip
    except CatalogError as error:
        for problem in error.problems:
            yield Finding(check="catalog", level=Level.FAIL, detail=str(target.config), advice=problem)
    else:
        yield Finding(check="catalog", level=Level.OK, detail=f"{target.config}: {len(built.models)} models")
        for note in load.notes(document):
            yield Finding(check="catalog", level=Level.WARN, detail=str(target.config), advice=note)
        yield from _unasked(built)
        yield from _missing_plugins(built)
        yield from _provider_keys(built.models)
        yield from tokenizers(built.models, is_installed=find_spec(TOKENIZER_PACKAGE) is not None)


def _unasked(built: Catalog) -> Iterator[Finding]:
    """Words of the catalog that nothing known asks for, seen with the predictor that the settings name."""
    from router_service import settings  # noqa: PLC0415 slow to load
    from router_service.prediction.predictor import Predictor, general  # noqa: PLC0415 as above
    from router_service.signals.unasked import unasked  # noqa: PLC0415 as above

    own = settings.load().predictor
    domains = (general() if own is None else Predictor.load(own)).domains
    for said in unasked(built, domains=domains):
        yield Finding(check="catalog", level=Level.WARN, detail=said)


def _missing_plugins(built: Catalog) -> Iterator[Finding]:
    from router_service.routing.methods import load_methods  # noqa: PLC0415 brings the plugins

    methods = load_methods()
    known = {*methods.constraints, *methods.strategies, *methods.terms}
    for policy in built.policies.values():
        named = (policy.strategy, *policy.constraints, *(name for name, _weight in policy.terms))
        for name in named:
            if name not in known:
                yield Finding(
                    check="plugins",
                    level=Level.FAIL,
                    detail=f"policy {policy.name}: {name!r} is not installed here: its jobs would wait",
                    advice="install its package where the routers run, or take it out of the policy",
                )


def _provider_keys(models: Iterable[Model]) -> Iterator[Finding]:
    keys = {model.api_key or "" for model in models}
    for name in sorted(key.removeprefix(ENVIRONMENT) for key in keys if key.startswith(ENVIRONMENT)):
        found = bool(os.environ.get(name))
        yield Finding(
            check="provider key",
            level=Level.OK if found else Level.FAIL,
            detail=f"{name} {'is' if found else 'is not'} set",
            advice="" if found else f"export {name} where the provider workers start",
        )


def tokenizers(models: Iterable[Model], *, is_installed: bool) -> Iterator[Finding]:
    """Whether the prompts of models that name a tokenizer are counted here; nothing where none does."""
    named = sorted({model.tokenizer for model in models if model.tokenizer})
    if named:
        state = "is installed" if is_installed else "is not installed: prompts are estimated instead of counted"
        yield Finding(
            check="tokenizer",
            level=Level.OK if is_installed else Level.WARN,
            detail=f"{', '.join(named)}: bpe-openai {state}",
            advice=""
            if is_installed
            else "pip install '.[tokenizer]' where the provider workers run, then restart them",
        )


def routing(target: Target) -> Iterator[Finding]:
    """What the router loads beside the catalog."""
    try:
        check_routing(target.predictor)
    except SettingsError as error:
        advice = "mend it, or unset WAYBILL_PREDICTOR; a plugin is removed by uninstalling its package"
        yield Finding(check="routing", level=Level.FAIL, detail=str(error), advice=advice)
        return
    own = "the shipped predictor" if target.predictor is None else str(target.predictor)
    yield Finding(check="routing", level=Level.OK, detail=f"{own}, and every plugin, can be loaded")


def check_routing(predictor: Path | None) -> None:
    """Load the plugins, and the predictor if one is named. Raises SettingsError."""
    from router_service.prediction import Predictor  # noqa: PLC0415 brings numpy
    from router_service.routing.methods import load_methods  # noqa: PLC0415 brings the plugins
    from router_service.signals.plugins import load_extractors  # noqa: PLC0415 as above

    load_methods()
    load_extractors()
    if predictor is not None:
        Predictor.load(predictor)


def database(target: Target) -> Iterator[Finding]:
    """Reachable, of this version's schema, and with a clock that agrees with ours."""
    if not target.database_url:
        yield _unset("database", "WAYBILL_DATABASE_URL")
        return
    from router_service.store import migrate  # noqa: PLC0415 brings the database driver

    try:
        version, skew_s = asyncio.run(_database_clock(target.database_url))
    except WaybillError as error:
        yield Finding(
            check="database", level=Level.FAIL, detail=str(error),
            advice="start it, or mend WAYBILL_DATABASE_URL (postgresql://user:password@host/database)",
        )  # fmt: skip
        return
    yield Finding(check="database", level=Level.OK, detail=f"Postgres {version}")
    have, want = migrate.pending(target.database_url)
    yield Finding(
        check="schema", level=Level.OK if have == want else Level.FAIL, detail=f"{have or 'empty'}",
        advice="" if have == want else f"`waybill migrate` brings it to {want}",
    )  # fmt: skip
    level = Level.OK if abs(skew_s) < SKEW_WARN_S else Level.WARN if abs(skew_s) < SKEW_FAIL_S else Level.FAIL
    yield Finding(
        check="clock", level=level, detail=f"{skew_s:+.3f} s from the database's",
        advice="" if level is Level.OK else "run a time service (chrony, systemd-timesyncd) on both machines",
    )  # fmt: skip


async def _database_clock(url: str) -> tuple[str, float]:
    """The server's version, and how far its clock is ahead of ours, in seconds, half of the way there deducted."""
    from router_service.store.session import Database  # noqa: PLC0415 brings the database driver

    pool = Database(url, pool=1, name="waybill-doctor")
    try:
        async with pool.transaction() as session:
            asked = time.time()
            row = await session.row("clock")
            answered = time.time()
    finally:
        await pool.close()
    if row is None:
        raise UnavailableError("postgres", "the database answers nothing")
    return str(row.version), float(row.now_s) - (asked + answered) / 2


def redis(target: Target) -> Iterator[Finding]:
    yield from _redis("redis", target.redis_url, "WAYBILL_REDIS_URL")


def broker(target: Target) -> Iterator[Finding]:
    """The broker, where it is a server of its own."""
    if target.broker_url and target.broker_url != target.redis_url:
        if target.broker_url.startswith("amqp"):
            yield Finding(
                check="broker", level=Level.FAIL, detail="AMQP is not supported yet",
                advice="set WAYBILL_BROKER_URL to a redis:// URL, or leave it out",
            )  # fmt: skip
            return
        yield from _redis("broker", target.broker_url, "WAYBILL_BROKER_URL")


def _redis(check: str, url: str, variable: str) -> Iterator[Finding]:
    if not url:
        yield _unset(check, variable)
        return
    try:
        told = asyncio.run(_redis_info(url))
    except WaybillError as error:
        yield Finding(check=check, level=Level.FAIL, detail=str(error), advice=f"start it, or mend {variable}")
        return
    version = str(told.get("valkey_version") or told.get("redis_version", ""))
    policy = str(told.get("maxmemory_policy", "unknown"))
    number = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    yield Finding(
        check=check, level=Level.OK if number >= REDIS else Level.FAIL, detail=f"{version}",
        advice="" if number >= REDIS else "version 6.2 or newer is needed",
    )  # fmt: skip
    yield Finding(
        check=f"{check} eviction", level=Level.OK if policy == "noeviction" else Level.FAIL, detail=policy,
        advice="" if policy == "noeviction" else "set `maxmemory-policy noeviction`: evicted counters break the limits",
    )  # fmt: skip


async def _redis_info(url: str) -> Mapping[str, object]:
    """What the server says of itself. kombu's URL of a socket is redis-py's with other words."""
    from router_service.capacity import connection  # noqa: PLC0415 brings the redis library

    told = url.replace("redis+socket://", "unix://", 1).replace("virtual_host=", "db=")
    client = connection.connect(told, name="waybill-doctor")
    try:
        with connection.unavailable():
            found: Mapping[str, object] = await client.info()
            return found
    finally:
        await client.aclose()


def api(target: Target) -> Iterator[Finding]:
    """The API, and through its /readyz every dependency and worker that it sees."""
    if target.api_url is None:
        yield Finding(
            check="api", level=Level.WARN, detail=f"no stack runs on {target.data_dir}, and no --url is given",
            advice="start one with `waybill up`, or name a service with --url",
        )  # fmt: skip
        return
    try:
        with ApiClient(target.api_url, key=None) as client:
            alive, _ = client.probe("/livez")
            ready, body = client.probe("/readyz")
    except WaybillError as error:
        yield Finding(
            check="api", level=Level.FAIL, detail=str(error), advice="start it: `waybill up` or `waybill api`"
        )
        return
    yield Finding(
        check="api", level=Level.OK if alive == 200 else Level.FAIL, detail=f"{target.api_url} answers {alive}",
        advice="" if alive == 200 else "is this address Waybill's? Look into its log",
    )  # fmt: skip
    checks = body.get("checks")
    for name, state in (checks if isinstance(checks, dict) else {}).items():
        yield from _ready(f"ready: {name}", state)
    if ready != 200 and not checks:
        yield Finding(
            check="ready", level=Level.FAIL, detail=f"/readyz answers {ready}", advice="look into the API's log"
        )


def _ready(check: str, state: object) -> Iterator[Finding]:
    """One entry of /readyz, or the entries of a group of them."""
    if not isinstance(state, dict):
        return
    if "ok" not in state:
        for name, inner in state.items():
            yield from _ready(f"{check} {name}", inner)
        return
    yield Finding(
        check=check, level=Level.OK if state["ok"] else Level.FAIL, detail=str(state.get("detail") or ""),
        advice="" if state["ok"] else "start it; DIR/logs or its service's log says why it ended",
    )  # fmt: skip


def _unset(check: str, variable: str) -> Finding:
    return Finding(
        check=check, level=Level.WARN, detail=f"{variable} is not set and no stack runs",
        advice=f"`waybill up` brings its own; for roles started alone set {variable}",
    )  # fmt: skip


ALL = (python, embedded_binaries, data_dir, catalog, routing, database, redis, broker, api)
