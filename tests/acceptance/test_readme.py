"""The README's commands run as they stand.

The convention: in a fenced block ```console each line that starts with `$ ` is run, in order, in one shell, with a
stack up; `make TARGET` is only looked up in the Makefile; after a line `# not run` the rest of the block is skipped.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.stacks import RunningStack
from tests.support.catalogs import entry

pytestmark = pytest.mark.timeout(240)

HOME = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
MAKE = re.compile(r"make(?: +[A-Z_]+=\S+)* +(?P<targets>[a-z -]+)$")
PATIENCE_S = 120


def commands(text: str) -> list[str]:
    """The commands of a README in order; one that ends with a backslash goes on in the next line."""
    found: list[str] = []
    for block in BLOCK.findall(text):
        goes_on = False
        for line in str(block).splitlines():
            if line.strip() == "# not run":
                break
            if goes_on:
                found[-1] += f"\n{line}"
            elif line.startswith("$ "):
                found.append(line.removeprefix("$ "))
            else:
                continue
            goes_on = line.endswith("\\")
    return found


def unknown_targets(wanted: list[str], makefile: str) -> list[str]:
    """The targets of `make` commands that the Makefile does not have."""
    known = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    targets = [target for command in wanted if (match := MAKE.match(command)) for target in match["targets"].split()]
    return [target for target in targets if target not in known]


def run(wanted: list[str], *, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """All commands in one shell, which stops at the first that fails and says which it was."""
    script = "trap 'echo \"FAILED: $BASH_COMMAND\" >&2' ERR\nset -eE -o pipefail\n" + "\n".join(wanted) + "\n"
    return subprocess.run(
        ["bash"], input=script, cwd=folder, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def test_commands_of_the_readme_run_as_they_stand() -> None:
    wanted = commands((HOME / "README.md").read_text())
    assert unknown_targets(wanted, (HOME / "Makefile").read_text()) == []
    to_run = [command for command in wanted if not MAKE.match(command)]
    if not to_run:
        return
    with RunningStack(entry("local", model="local/lead"), words=("--no-flower",)) as stack:
        (stack.root / ".waybill").symlink_to(stack.data_dir)
        for name in (".venv", "README.md", "docs", "deploy", "Makefile"):
            (stack.root / name).symlink_to(HOME / name)
        done = run(to_run, folder=stack.root, env=stack.env)
        assert done.returncode == 0, f"{done.stderr}\n{done.stdout[-2000:]}"


def test_the_runner_finds_what_is_marked_and_nothing_else() -> None:
    text = "```console\n$ one \\\n  two\nits output\n# not run\n$ three\n```\n```sh\n$ four\n```\n```console\n$ make demo\n```\n"
    assert commands(text) == ["one \\\n  two", "make demo"]


def test_the_runner_fails_with_the_command_that_fails(tmp_path: Path) -> None:
    done = run(["X=1", "test $X = 1", "false", "touch reached"], folder=tmp_path, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode != 0
    assert "FAILED: false" in done.stderr
    assert not (tmp_path / "reached").exists()


def test_a_target_that_the_makefile_does_not_have_is_found() -> None:
    assert unknown_targets(["make demo", "make PYTHON=python3.12 setup fly"], "demo: setup\nsetup:\n") == ["fly"]
