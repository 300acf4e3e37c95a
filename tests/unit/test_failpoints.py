from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import router_service
import workers
from router_service import failpoints, settings
from router_service.errors import SettingsError
from router_service.failpoints import NAMES, FailpointError, Fault, Wish, afailpoint, failpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "api.jobs.after_commit"
CALL = re.compile(r"\ba?failpoint\(\s*\"([a-z_.]+)\"")


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None, lease_s=1)


def arm(fault: Fault, *, sleep_s: float | None = None, lease_s: float = 1) -> None:
    failpoints.arm(Wish(name=NAME, fault=fault, sleep_s=sleep_s), lease_s=lease_s)


def test_every_name_stands_in_the_code_once_and_nothing_else_does() -> None:
    sources = [path for package in (router_service, workers) for path in Path(package.__path__[0]).rglob("*.py")]
    called = [name for path in sources for name in CALL.findall(path.read_text())]
    assert sorted(called) == sorted(NAMES)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("", None),
        (f"{NAME}:kill", Wish(name=NAME, fault=Fault.KILL)),
        (f"{NAME}:sleep", Wish(name=NAME, fault=Fault.SLEEP)),
        (f"{NAME}:sleep=0.5", Wish(name=NAME, fault=Fault.SLEEP, sleep_s=0.5)),
    ],
)
def test_variable_is_read_with_the_settings(monkeypatch: pytest.MonkeyPatch, text: str, wish: Wish | None) -> None:
    monkeypatch.setenv("WAYBILL_FAILPOINT", text)
    assert settings.load().failpoint == wish


@pytest.mark.parametrize(
    "text",
    ["nowhere:kill", NAME, f"{NAME}:die", f"{NAME}:kill=1", f"{NAME}:sleep=", f"{NAME}:sleep=-1", f"{NAME}:sleep=nan"],
)
def test_wrong_name_or_word_stops_the_start(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("WAYBILL_FAILPOINT", text)
    with pytest.raises(SettingsError, match="WAYBILL_FAILPOINT"):
        settings.load()


def test_nothing_happens_where_nothing_was_asked_for() -> None:
    for name in NAMES:
        failpoint(name)


def test_error_is_raised_once_and_only_at_its_name() -> None:
    arm(Fault.RAISE)
    failpoint("api.jobs.before_commit")
    with pytest.raises(FailpointError, match=NAME):
        failpoint(NAME)
    failpoint(NAME)


def test_sleep_lasts_past_the_lease_and_says_so_first(capfd: pytest.CaptureFixture[str]) -> None:
    arm(Fault.SLEEP, lease_s=0.02)
    began = time.monotonic()
    failpoint(NAME)
    assert time.monotonic() - began >= 0.03
    assert capfd.readouterr().err == f"failpoint {NAME}: sleep\n"


def test_sleep_of_a_coroutine_lets_the_others_run() -> None:
    async def both() -> list[str]:
        order: list[str] = []

        async def asleep() -> None:
            await afailpoint(NAME)
            order.append("asleep")

        async def awake() -> None:
            order.append("awake")

        await asyncio.gather(asleep(), awake())
        return order

    arm(Fault.SLEEP, sleep_s=0.01)
    assert asyncio.run(both()) == ["awake", "asleep"]


def test_kill_leaves_no_handler_to_run() -> None:
    program = (
        "from router_service import failpoints as f\n"
        f"f.arm(f.parse('{NAME}:kill'), lease_s=1)\n"
        f"try:\n    f.failpoint('{NAME}')\nfinally:\n    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    assert done.stderr == f"failpoint {NAME}: kill\n"
