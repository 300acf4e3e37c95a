"""One batch of many kinds of work through the whole stack: each line on a model that its constraints allow, and told why."""

from __future__ import annotations

import base64
import itertools
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.stacks import CHAT, RunningStack
from tests.support.catalogs import entry
from tests.support.sentences import SENTENCES

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(240)

LANGUAGES = ("en", "de", "fr", "es", "ja", "ar", "ru")
DOMAINS = ("law", "medicine", "finance", "code")
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()


class Offered(NamedTuple):
    """A model as its operator declares it; empty languages and domains: any."""

    cost: float
    place: str
    languages: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    sees: bool = False


MODELS = {
    "us-cheap": Offered(1e-7, "us", languages=("en", "es", "fr")),
    "us-any": Offered(5e-7, "us"),
    "us-eyes": Offered(9e-7, "us", sees=True),
    "eu-west": Offered(4e-7, "eu", languages=("de", "fr", "en")),
    "eu-law": Offered(3e-7, "eu", domains=("law",)),
    "eu-any": Offered(2e-6, "eu", sees=True),
    "us-medic": Offered(2e-7, "us", domains=("medicine",)),
}


class Line(NamedTuple):
    language: str
    domain: str
    image: bool
    residency: str | None

    def may_use(self, model: Offered) -> bool:
        """The rules as a reader of the README would write them down."""
        return (
            (not model.languages or self.language in model.languages)
            and (not model.domains or self.domain in model.domains)
            and (model.sees or not self.image)
            and self.residency in {None, model.place}
        )


LINES = [Line(*kind) for kind in itertools.product(LANGUAGES, DOMAINS, (False, True), (None, "eu"))]


def entry_of(name: str, model: Offered) -> dict[str, Any]:
    return entry(
        name,
        cost=model.cost,
        params={"max_parallel_requests": 50},
        info={"supports_vision": model.sees},
        router={
            "languages": list(model.languages),
            "domains": list(model.domains),
            "data_residency": {"inference": model.place, "storage": model.place},
        },
    )


def request_of(number: int, line: Line) -> dict[str, Any]:
    """The language is not said, it has to be seen; the domain is the caller's hint."""
    text: list[dict[str, Any]] = [{"type": "text", "text": " ".join(SENTENCES[line.language][3:])}]
    image = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}] if line.image else []
    router = {"domain": line.domain} | ({"residency": line.residency} if line.residency else {})
    return {
        "custom_id": f"c{number}",
        "method": "POST",
        "url": CHAT,
        "router": router,
        "body": {"model": "auto", "max_tokens": 8, "messages": [{"role": "user", "content": text + image}]},
    }


@pytest.fixture(scope="module")
def stack() -> Iterator[RunningStack]:
    with RunningStack(*(entry_of(name, model) for name, model in MODELS.items())) as stack:
        yield stack


def test_each_line_of_a_mixed_batch_goes_where_its_constraints_allow_and_the_explanation_says_why(
    stack: RunningStack,
) -> None:
    content = "".join(json.dumps(request_of(number, line)) + "\n" for number, line in enumerate(LINES))
    batch = stack.submit_batch(content.encode())
    ended = stack.wait_batch(batch, patience_s=120)
    assert ended.status == "completed"
    assert ended.request_counts is not None
    assert ended.request_counts.completed == len(LINES)
    for job in jobs_of(stack, batch):
        line = LINES[int(job["custom_id"].removeprefix("c"))]
        allowed = {name for name, model in MODELS.items() if line.may_use(model)}
        assert job["routed_model"] == min(allowed, key=lambda name: MODELS[name].cost), line
        told = stack.http.get(f"/v1/jobs/{job['id']}/explain").json()
        decision = told["decisions"][-1]
        assert decision["inputs"]["signals"]["language"] == line.language
        out = {each["model"]: each["reason"] for each in decision["candidates"] if not each["eligible"]}
        assert out.keys() == MODELS.keys() - allowed, line
        for name, reason in out.items():
            assert reason in reasons_for(line, MODELS[name]), (line, name, reason)
    replayed = stack.http.post("/v1/decisions/replay", json={"batch_id": batch}).json()
    assert (replayed["decisions"], replayed["same"]) == (len(LINES), len(LINES))


def reasons_for(line: Line, model: Offered) -> set[str]:
    """Every reason that a reader would give; the explanation names the first that was found."""
    reasons = set()
    if line.residency not in {None, model.place}:
        reasons.add("residency")
    if line.image and not model.sees:
        reasons.add("missing_feature")
    if model.languages and line.language not in model.languages:
        reasons.add("language")
    if model.domains and line.domain not in model.domains:
        reasons.add("domain")
    return reasons


def jobs_of(stack: RunningStack, batch: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    after: dict[str, str] = {}
    while True:
        page = stack.http.get("/v1/jobs", params={"batch_id": batch, "limit": 1000, **after}).json()
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}
