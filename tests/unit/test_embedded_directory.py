from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from router_service.embedded import directory, sockets
from router_service.embedded.process import rotate, tail
from router_service.embedded.state import StackState, load_state, read_state, remove_state, write_state
from router_service.errors import StackError

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_has_one_owner_and_the_second_learns_its_pid(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with directory.own(folder):
        assert directory.holder(folder) == os.getpid()
        with pytest.raises(StackError, match=rf"pid {os.getpid()}"), directory.own(folder):
            pass
    assert directory.holder(folder) is None
    with directory.own(folder):
        assert mode(folder) == 0o700


def test_directory_that_does_not_exist_has_no_owner(tmp_path: Path) -> None:
    assert directory.holder(tmp_path / "none") is None


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    first = directory.load_secrets(tmp_path)
    assert directory.load_secrets(tmp_path) == first
    assert mode(tmp_path / "secrets.json") == 0o600
    assert first.postgres not in repr(first)
    assert first.postgres != first.valkey


def test_lost_secrets_of_a_database_are_reported_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    with pytest.raises(StackError, match="restore it"):
        directory.load_secrets(tmp_path)
    assert not (tmp_path / "secrets.json").exists()


def test_damaged_secrets_are_reported_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{}")
    with pytest.raises(StackError, match="restore it"):
        directory.load_secrets(tmp_path)


def test_state_is_private_and_loads_only_while_its_stack_runs(tmp_path: Path) -> None:
    state = StackState(
        pid=os.getpid(),
        api_url="http://127.0.0.1:1",
        flower_url=None,
        database_url="postgresql://u:secret@/d",
        redis_url="unix://",
        broker_url="redis+socket://",
        children={"api": 1},
        births={},
    )
    write_state(tmp_path, state)
    assert mode(tmp_path / "stack.json") == 0o600
    assert "secret" not in repr(state)
    assert load_state(tmp_path) is None
    with directory.own(tmp_path):
        assert load_state(tmp_path) == state
    remove_state(tmp_path)
    assert read_state(tmp_path) is None


def test_state_of_another_version_is_no_state(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"unknown": 1}')
    assert read_state(tmp_path) is None


def test_short_plain_path_keeps_its_socket_inside(tmp_path: Path) -> None:
    assert sockets.open_socket_dir(tmp_path, socket_name="s") == tmp_path / "run"
    assert mode(tmp_path / "run") == 0o700


@pytest.mark.parametrize("name", ["x" * 108, "with space", "with,comma", "with%percent"])
def test_path_unfit_for_a_socket_gets_a_private_one_elsewhere_until_closed(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    chosen = sockets.open_socket_dir(home, socket_name="valkey.sock")
    assert not chosen.is_relative_to(tmp_path)
    assert mode(chosen) == 0o700
    assert sockets.open_socket_dir(home, socket_name="valkey.sock") == chosen
    sockets.close_socket_dir(home)
    assert not chosen.exists()


def test_remembered_socket_directory_that_others_can_open_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 108)
    home.mkdir()
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o755)
    (home / "socket-dir").write_text(f"{planted}\n")
    chosen = sockets.open_socket_dir(home, socket_name="s")
    assert chosen != planted
    sockets.close_socket_dir(home)
    assert planted.exists()


def test_log_is_private_and_a_long_one_is_put_aside_once(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "api.log"
    rotate(log)
    assert mode(log) == 0o600
    log.write_bytes(b"old\n" * 2_000_000)
    rotate(log)
    assert log.stat().st_size == 0
    assert tail(log) == "(its log is empty)"
    assert tail(log.with_suffix(".log.1"), lines=2) == "old\nold"
