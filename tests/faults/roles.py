"""The processes of a cluster: each a role of Waybill, kept up by the test's supervisor as production keeps it up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from router_service.embedded.process import alive
from router_service.embedded.state import birth

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType


class Zygote:
    """The process that roles are forked from."""

    def __init__(self, *, env: Mapping[str, str], log: Path) -> None:
        self._env = env
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=self._env,
                text=True,
                process_group=0,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=10)

    def fork(self, words: Sequence[str], *, env: Mapping[str, str], log: Path) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"words": list(words), "env": dict(env), "log": str(log)}) + "\n")
        self._process.stdin.flush()
        pid = self._process.stdout.readline()
        assert pid, f"the zygote ended: {self._log.read_text()[-2000:]}"
        return int(pid)


class Role:
    """One role, whatever process it is at the moment. What `router_service.embedded.supervisor` calls a service."""

    def __init__(self, name: str, words: Sequence[str], *, zygote: Zygote, env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.env = env
        self.log = log
        self._words = words
        self._zygote = zygote
        self._pid: int | None = None
        self._birth: str | None = None

    @property
    def pid(self) -> int | None:
        return self._pid

    def launch(self) -> None:
        self.start()

    def start(self, **extra: str) -> None:
        """`extra` are variables of this one process; who follows it after its death is started without them."""
        self._pid = self._zygote.fork(self._words, env={**self.env, **extra}, log=self.log)
        self._birth = birth(self._pid)

    def ready(self) -> bool:
        return self.poll() is None

    def poll(self) -> int | None:
        """Whether it has ended; how is not told, it is no child of ours."""
        if self._pid is None or (alive(self._pid) and birth(self._pid) == self._birth):
            return None
        return 1

    def send(self, number: signal.Signals) -> None:
        if self._pid is not None and self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def said(self, since_byte: int = 0) -> str:
        """What it and those before it wrote."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(since_byte)
            return stream.read().decode(errors="replace")
