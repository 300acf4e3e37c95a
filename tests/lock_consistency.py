"""Do the lock files say what pyproject.toml asks for? `python -m tests.lock_consistency` lists what is wrong, and exits with 1.

Asks no network: every dependency is pinned, with hashes, at a version that its specifier allows; no file names a place to
download from; a package has one version in all files.
"""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parent.parent
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
PLACE = re.compile(
    r"://|\bgit\+|^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host|--no-index)\b|@\s*file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One requirement of a lock file."""

    file: str
    name: str
    version: Version


def problems(pyproject: str, locks: Mapping[str, str]) -> list[str]:
    """Everything that is wrong, a line each. `locks`: the text of `main.txt`, `build.txt` and `dev.txt` by name."""
    found: list[str] = []
    pins = [pin for name, text in locks.items() for pin in _read(name, text, found)]
    for file, asked in _asked(tomllib.loads(pyproject)).items():
        found += _unsatisfied(asked, [pin for pin in pins if pin.file == file], file=file)
    versions: dict[str, dict[Version, str]] = {}
    for pin in pins:
        versions.setdefault(pin.name, {}).setdefault(pin.version, pin.file)
    for name, seen in sorted(versions.items()):
        if len(seen) > 1:
            each = ", ".join(f"{version} in {file}" for version, file in seen.items())
            found.append(f"{name}: one version is wanted in all files, there are {each}")
    return found


def _asked(pyproject: Mapping[str, object]) -> dict[str, list[str]]:
    """What each file has to satisfy."""
    match pyproject:
        case {"project": {"dependencies": list(main)}, "dependency-groups": {"build": list(build), "dev": list(dev)}}:
            return {"main.txt": main, "build.txt": build, "dev.txt": dev}
        case _:
            raise SystemExit("pyproject.toml: project.dependencies and dependency-groups.build and .dev are wanted")


def _unsatisfied(asked: Sequence[str], pins: Sequence[Pin], *, file: str) -> Iterator[str]:
    by_name = {pin.name: pin for pin in pins}
    for text in asked:
        requirement = Requirement(text)
        pin = by_name.get(canonicalize_name(requirement.name))
        if pin is None:
            yield f"{file}: {text} is not in it; run `make lock`"
        elif not requirement.specifier.contains(pin.version, prereleases=True):
            yield f"{file}: {pin.name}=={pin.version} does not satisfy {text}; run `make lock`"


def _read(file: str, text: str, found: list[str]) -> Iterator[Pin]:
    """The pins of one file; what is wrong with its lines goes to `found`."""
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if PLACE.search(line):
            found.append(f"{file}: names a place to download from: {line.strip()[:80]}")
            continue
        bare = line.partition(" --hash=")[0].strip()
        try:
            requirement = Requirement(bare)
        except InvalidRequirement:
            found.append(f"{file}: not a requirement: {bare[:80]}")
            continue
        specifiers = list(requirement.specifier)
        if len(specifiers) != 1 or specifiers[0].operator != "==" or "*" in specifiers[0].version:
            found.append(f"{file}: {requirement.name} is not pinned with ==")
            continue
        words = line.split(" --hash=")[1:]
        if not words or len(HASH.findall(line)) != len(words):
            found.append(f"{file}: {requirement.name} has no sha256 hash, or a broken one")
        yield Pin(file=file, name=canonicalize_name(requirement.name), version=Version(specifiers[0].version))


def main() -> int:
    locks = {name: (ROOT / "requirements" / name).read_text() for name in ("main.txt", "build.txt", "dev.txt")}
    wrong = problems((ROOT / "pyproject.toml").read_text(), locks)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
