"""What public benchmarks say of well-known models, for a catalog that declares no quality at all: a first guess to learn from.

The figures are shares of right answers on MMLU-Pro and ZeroEval; `public_quality.json` has them with their sources.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = "public_quality.json"
DATE = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})$")


def public_quality(upstream: str) -> Mapping[str, float]:
    """By domain and `default`, of the model with that name at its provider; empty where nothing is on record.

    Names are compared without the part before a slash, `meta-` and what follows an @; one without a date stands for the
    newest.
    """
    name = _plain(upstream)
    known = _table()
    if name in known:
        return known[name]
    undated = [each for each in known if DATE.sub("", each) == name]
    return known[max(undated)] if undated else {}


@cache
def version() -> str:
    """The first 16 hex digits of SHA-256 over the file: decisions name the figures that they were taken with."""
    return hashlib.sha256(_text().encode()).hexdigest()[:16]


def _text() -> str:
    return resources.files("router_service.catalog").joinpath(FILE).read_text()


@cache
def _table() -> dict[str, dict[str, float]]:
    return cast("dict[str, dict[str, float]]", json.loads(_text())["quality"])


def _plain(upstream: str) -> str:
    name = upstream.rpartition("/")[2].lower().partition("@")[0].replace("_", ".")
    return name.removeprefix("meta-")
