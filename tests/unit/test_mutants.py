"""The list of seeded bugs fits the code: planting them is on demand, but a list that has gone stale is noticed here."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.mutants.__main__ import ROOT
from tests.mutants.bugs import BUGS, Bug


def test_there_are_enough_of_them_and_each_has_its_name() -> None:
    assert len(BUGS) >= 14
    assert set(Counter(bug.name for bug in BUGS).values()) == {1}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_place_of_a_bug_is_there_once_and_so_is_its_test(bug: Bug) -> None:
    for old, new in bug.edits:
        assert (ROOT / bug.file).read_text().count(old) == 1
        assert old != new
    file, _, name = bug.red.partition("::")
    assert f"def {name.partition('[')[0]}" in (ROOT / file).read_text()
