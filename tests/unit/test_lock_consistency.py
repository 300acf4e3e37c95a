from __future__ import annotations

import pytest

from tests.lock_consistency import main, problems

DIGEST = "--hash=sha256:" + "0" * 64
PYPROJECT = """
[project]
dependencies = ["Some_Thing[extra]>=2,<3"]
[dependency-groups]
build = ["builder>=1"]
dev = ["tester"]
"""
LOCKS = {
    "main.txt": f"some-thing[extra]==2.5 \\\n    {DIGEST} \\\n    {DIGEST}\nother==1 ; python_version < '4' \\\n    {DIGEST}\n",
    "build.txt": f"builder==1.0 \\\n    {DIGEST}\n",
    "dev.txt": f"# a comment\n\ntester==7 \\\n    {DIGEST}\nother==1.0 \\\n    {DIGEST}\n",
}


def test_the_repositorys_own_lock_files_are_consistent() -> None:
    assert main() == 0


def test_consistent_files_have_no_problem() -> None:
    assert problems(PYPROJECT, LOCKS) == []


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("main.txt", "", ["main.txt: Some_Thing[extra]>=2,<3 is not in it; run `make lock`"]),
        (
            "main.txt",
            f"some-thing==3.0 {DIGEST}",
            ["main.txt: some-thing==3.0 does not satisfy Some_Thing[extra]>=2,<3; run `make lock`"],
        ),
        ("build.txt", "builder==1.0", ["build.txt: builder has no sha256 hash, or a broken one"]),
        ("build.txt", "builder==1.0 --hash=sha256:00", ["build.txt: builder has no sha256 hash, or a broken one"]),
        (
            "build.txt",
            f"builder==1.0 --hash=md5:00 {DIGEST}",
            ["build.txt: builder has no sha256 hash, or a broken one"],
        ),
        (
            "dev.txt",
            f"tester==7 {DIGEST}\nother==2 {DIGEST}",
            ["other: one version is wanted in all files, there are 1 in main.txt, 2 in dev.txt"],
        ),
    ],
)
def test_what_is_wrong_is_named(file: str, text: str, says: list[str]) -> None:
    assert problems(PYPROJECT, LOCKS | {file: text}) == says


@pytest.mark.parametrize("loose", ["tester>=7", "tester", "tester==7.*", "tester>=7,<8", "tester===7"])
def test_a_requirement_that_is_not_pinned_is_named(loose: str) -> None:
    assert "dev.txt: tester is not pinned with ==" in problems(PYPROJECT, LOCKS | {"dev.txt": f"{loose} {DIGEST}"})


@pytest.mark.parametrize(
    "place",
    [
        "--index-url https://mirror.example/simple",
        "--extra-index-url=https://mirror.example",
        "-i mirror.example",
        "--find-links ./wheels",
        "--trusted-host mirror.example",
        f"tester @ https://mirror.example/tester.whl {DIGEST}",
        "tester @ git+ssh://git@mirror.example/tester",
        "tester @ file:///tmp/tester.whl",
    ],
)
def test_a_place_to_download_from_is_named(place: str) -> None:
    found = problems(PYPROJECT, LOCKS | {"dev.txt": LOCKS["dev.txt"] + place + "\n"})
    assert [problem.partition(":")[2].strip().partition(":")[0] for problem in found] == [
        "names a place to download from"
    ]


def test_a_line_that_is_no_requirement_is_named() -> None:
    found = problems(PYPROJECT, LOCKS | {"dev.txt": LOCKS["dev.txt"] + "what is this?\n"})
    assert found == ["dev.txt: not a requirement: what is this?"]
