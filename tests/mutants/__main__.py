"""Do the tests have teeth? `python -m tests.mutants [NAME...]` plants each bug in a copy of the repository and runs its test.

First the tests run on the copy as it is, and must be green; then each with its bug, and must be red. A test that cannot be
run at all counts as neither.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mutants.bugs import BUGS, Bug

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
PYTEST = ("-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly")


class Colour(StrEnum):
    """What came of a test run."""

    GREEN = "green"
    RED = "red"
    BROKEN = "broken"  # it could not be collected, or did not end


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="some bugs; all without a name")
    given = parser.parse_args(arguments)
    known = {bug.name: bug for bug in BUGS}
    if unknown := sorted(set(given.names) - known.keys()):
        parser.error(f"no bug is named {', '.join(unknown)}; there are {', '.join(known)}")
    wanted = [known[name] for name in given.names] or list(BUGS)
    with tempfile.TemporaryDirectory(prefix="waybill-mutants-") as folder:
        copy = Path(folder)
        copy_repository(copy)
        survivors = [bug.name for bug in wanted if not _is_noticed(bug, copy)]
    _tell(f"{len(wanted) - len(survivors)} of {len(wanted)} were noticed{_listed(survivors)}")
    return 1 if survivors else 0


def copy_repository(copy: Path) -> None:
    """Every file that git knows, or would know if it were added."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)


def plant(bug: Bug, root: Path) -> str:
    """Put the bug in; the text that was there. Raises ValueError where its place is not there exactly once."""
    path = root / bug.file
    before = text = path.read_text()
    for old, new in bug.edits:
        if (count := text.count(old)) != 1:
            raise ValueError(f"{bug.name}: {old!r} stands {count} times in {bug.file}; exactly once would be right")
        text = text.replace(old, new)
    path.write_text(text)
    return before


def _is_noticed(bug: Bug, copy: Path) -> bool:
    began = time.monotonic()
    before = _run(bug.red, copy)
    after = _run_with(bug, copy) if before is Colour.GREEN else before
    noticed = (before, after) == (Colour.GREEN, Colour.RED)
    verdict = "noticed " if noticed else "SURVIVED"
    _tell(f"{verdict} {bug.name:44} {before} -> {after} in {time.monotonic() - began:5.1f} s  {bug.red}")
    return noticed


def _run_with(bug: Bug, copy: Path) -> Colour:
    text = plant(bug, copy)
    try:
        return _run(bug.red, copy)
    finally:
        (copy / bug.file).write_text(text)


def _run(test: str, copy: Path) -> Colour:
    """With this interpreter's packages, and the code of the copy before the project's own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("WAYBILL_", "PYTEST_"))}
    try:
        done = subprocess.run(
            [sys.executable, *PYTEST, test],
            cwd=copy,
            env=environ | {"PYTHONPATH": str(copy)},
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Colour.BROKEN
    return {0: Colour.GREEN, 1: Colour.RED}.get(done.returncode, Colour.BROKEN)


def _listed(survivors: Sequence[str]) -> str:
    return f"; these survived: {', '.join(survivors)}" if survivors else ""


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
