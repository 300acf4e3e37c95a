"""Strings that must stay where they belong: prompts and answers in Postgres and in answers to their owner, keys with the worker.

A stack at log level `debug` gets them in by every door; everything else that it writes, sends or shows is then searched.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.stacks import CHAT, RunningStack, descendants, until
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

pytestmark = pytest.mark.timeout(240)

SNAPSHOT_S = 0.1
KEPT = ("decisions", "job_signals", "snapshots", "plans", "quotes", "feedback", "quality_counts", "calibrations")


def canary(kind: str) -> str:
    return f"canary-{kind}-{secrets.token_hex(8)}"


PROMPTS = {name: canary(f"prompt-{name}") for name in ("sim", "local", "echo", "refuse", "break")}
ANSWER, METADATA, CUSTOM_ID, BROKEN = canary("answer"), canary("metadata"), canary("custom-id"), canary("broken")
KEYS = {"environment": canary("key-of-environment"), "literal": canary("key-in-file")}
CANARIES = [*PROMPTS.values(), ANSWER, METADATA, CUSTOM_ID, BROKEN, *KEYS.values()]


class Wire(BaseHTTPRequestHandler):
    """A provider that repeats the prompt in every answer and, in every field, in every error."""

    seen: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = asked["messages"][-1]["content"]
        self.seen.append((asked["model"], self.headers["authorization"], prompt))
        wrong = {"error": {"message": f"no: {prompt}", "type": prompt, "param": prompt, "code": prompt}}
        right = {
            "id": "x",
            "object": "chat.completion",
            "model": "x",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": f"{ANSWER} {prompt}"}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        }
        status, body = {"echo": (200, right), "refuse": (400, wrong), "break": (500, wrong)}[asked["model"]]
        content = json.dumps(body).encode()
        self.send_response(status, prompt)  # the reason phrase too
        self.send_header("x-request-id", prompt)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_words: object) -> None:
        """Nothing to standard error."""


@contextmanager
def wire_server() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Its base URL, and what it was asked: (model, authorization, prompt)."""
    seen: list[tuple[str, str, str]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("SeenWire", (Wire,), {"seen": seen}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(slots=True)
class Recorder:
    """All that is in Redis, again and again, and all that is published there: Celery's events and remote control."""

    admin: Redis
    values: set[bytes] = field(default_factory=set)
    published: set[bytes] = field(default_factory=set)

    @contextmanager
    def recording(self) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=work, args=[stop]) for work in (self._snapshots, self._listen)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def snapshot(self) -> None:
        for key in self.admin.scan_iter():
            self.values |= {key, *_read(self.admin, key)}

    def _snapshots(self, stop: threading.Event) -> None:
        while not stop.wait(SNAPSHOT_S):
            self.snapshot()

    def _listen(self, stop: threading.Event) -> None:
        with self.admin.pubsub() as pubsub:  # type: ignore[no-untyped-call]
            pubsub.psubscribe("*")
            while not stop.is_set():
                message = pubsub.get_message(timeout=0.1)
                if message is not None and isinstance(message["data"], bytes):
                    self.published |= {message["channel"], message["data"]}


def _read(admin: Any, key: bytes) -> set[bytes]:
    """Every member of a key of any type; a key that has gone meanwhile has none."""
    kind = admin.type(key)
    match kind:
        case b"none":
            return set()
        case b"string":
            return {admin.get(key) or b""}
        case b"list":
            return set(admin.lrange(key, 0, -1))
        case b"set":
            return set(admin.smembers(key))
        case b"zset":
            return set(admin.zrange(key, 0, -1))
        case b"hash":
            return {part for pair in admin.hgetall(key).items() for part in pair}
        case _:
            raise AssertionError(f"{key!r} is of the type {kind!r}, which this test does not read")


def forms(text: str) -> list[bytes]:
    """A text as it may stand in a stream: as it is, or in base64 at any of the three offsets (kombu's bodies)."""
    raw = text.encode()
    shifted = [base64.b64encode(b"x" * offset + raw).rstrip(b"=") for offset in range(3)]
    return [raw, *(each[4 if offset else 0 : -2] for offset, each in enumerate(shifted))]


def holds(blobs: set[bytes], text: str) -> bool:
    wanted = forms(text)
    return any(form in blob for blob in blobs for form in wanted)


@dataclass(frozen=True, slots=True)
class Run:
    """A stack after the canaries went through it. `places` maps each place that was searched to what was found there."""

    stack: RunningStack
    jobs: dict[str, dict[str, Any]]
    batch: str
    seen: list[tuple[str, str, str]]
    places: dict[str, set[bytes]]


@pytest.fixture(scope="module")
def ran() -> Iterator[Run]:
    with wire_server() as (base, seen):

        def over_wire(name: str, key: str) -> dict[str, Any]:
            return entry(name, model=f"openai/{name}", params={"api_base": base, "api_key": key})

        entries = [
            entry("sim", model="simulated/sim"),
            entry("local", model="local/lead"),
            over_wire("echo", "os.environ/CANARY_KEY"),
            over_wire("refuse", KEYS["literal"]),
            over_wire("break", KEYS["literal"]),
        ]
        with RunningStack(
            *entries,
            router_settings={"num_retries": 1, "router": {"policies": {"default": {"signals": True}}}},
            settings={"WAYBILL_LOG_LEVEL": "debug"},
            environ={"CANARY_KEY": KEYS["environment"]},
        ) as stack:
            yield run_canaries(stack, seen)


def run_canaries(stack: RunningStack, seen: list[tuple[str, str, str]]) -> Run:
    with stack.admin_redis() as admin:
        recorder = Recorder(admin)
        with recorder.recording():
            jobs, batch = send(stack, recorder)
            ended = {name: stack.finished(job) for name, job in jobs.items()}
            stack.wait_batch(batch, patience_s=60)
            quoted = quote(stack)
            judged = stack.http.post(f"/v1/jobs/{jobs['sim']}/feedback", json={"score": 1})
            places = {"errors": provoke_errors(stack), "flower": flower_pages(stack, jobs["sim"])}
        recorder.snapshot()
    places |= {
        "redis": recorder.values,
        "published": recorder.published,
        "files of the Redis": {file.read_bytes() for file in (stack.data_dir / "valkey").rglob("*") if file.is_file()},
        "logs": {file.read_bytes() for file in [*stack.logs.iterdir(), stack.root / "up.out"]},
        "metrics": {stack.http.get("/metrics").content},
        "argv": {line.encode() for line in descendants(stack.process.pid).values()},
        "stack.json": {(stack.data_dir / "stack.json").read_bytes()},
        "models": {stack.http.get("/v1/models").content},
        "explanations": {stack.http.get(f"/v1/jobs/{job}/explain").content for job in jobs.values()},
        "dead letters": {stack.http.get("/v1/dead-letters", params={"limit": 1000}).content},
        "catalogs": {str(row["document"]).encode() for row in stack.rows("SELECT document FROM catalogs")},
        "what routing keeps": {str(row).encode() for table in KEPT for row in stack.rows(f"SELECT * FROM {table}")},
        "answers of routing": {quoted.content, judged.content, replayed(stack, batch).content},
    }
    return Run(stack=stack, jobs=ended, batch=batch, seen=seen, places=places)


def quote(stack: RunningStack) -> httpx.Response:
    """A quote for a file of canaries, with its answer."""
    lines = [
        {
            "custom_id": name,
            "method": "POST",
            "url": CHAT,
            "body": {"model": "auto", "messages": [{"role": "user", "content": prompt}]},
        }
        for name, prompt in PROMPTS.items()
    ]
    file = stack.openai.files.create(file=("q.jsonl", "\n".join(map(json.dumps, lines)).encode()), purpose="batch")
    answer = stack.http.post("/v1/batches/quote", json={"input_file_id": file.id}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def replayed(stack: RunningStack, batch: str) -> httpx.Response:
    answer = stack.http.post("/v1/decisions/replay", json={"batch_id": batch})
    assert answer.json()["same"] == answer.json()["decisions"] > 0
    return answer


def send(stack: RunningStack, recorder: Recorder) -> tuple[dict[str, str], str]:
    """Jobs for every model and a batch. They are looked at while they wait, first for a provider, then for a dead end."""
    lines = "".join(
        json.dumps(
            {
                "custom_id": f"{CUSTOM_ID}-{number}",
                "method": "POST",
                "url": CHAT,
                "body": {"model": name, "messages": [{"role": "user", "content": prompt}]},
            }
        )
        + "\n"
        for number, (name, prompt) in enumerate(PROMPTS.items())
    )
    with stack.frozen("dead-letter"):
        with stack.frozen("provider-1"):
            jobs = {}
            for _ in range(3):  # the first message of a queue may be in the stopped worker's socket
                for name, prompt in PROMPTS.items():
                    text = f"The harbour {prompt} opened. Ships came."
                    jobs[name] = stack.submit(name, text, metadata={"note": METADATA})
            batch = stack.submit_batch(lines.encode())
            until(lambda: int(recorder.admin.llen("model.sim")) >= 2, patience_s=20, what="tickets wait")
            recorder.snapshot()
        until(lambda: stack.job(jobs["break"])["status"] == "dead", patience_s=30, what="a job is dead")
        until(lambda: int(recorder.admin.llen("dlq.break")) >= 1, patience_s=20, what="dead letters wait")
        recorder.snapshot()
    return jobs, batch


def provoke_errors(stack: RunningStack) -> set[bytes]:
    """Every way to hand content in wrongly; what the API says to it."""
    message = {"role": "user", "content": BROKEN}
    bodies: list[dict[str, Any]] = [
        {"model": "nobody", "input": {"messages": [message]}},
        {"model": "sim", "input": {"messages": BROKEN}},
        {"model": "sim", "input": {"messages": [BROKEN]}},
        {"model": "sim", "input": {"messages": [{"role": "user", "content": 7, "text": BROKEN}]}},
        {"model": "sim", "input": {"messages": [{"role": "user", "content": [{"type": "text", "txt": BROKEN}]}]}},
        {"model": "sim", "input": {"messages": [message], "max_tokens": BROKEN}},
        {"model": "sim", "input": {"messages": [message], "stream": True}},
        {"model": "sim", "input": {"messages": [message]}, "metadata": {"note": f"{BROKEN}\0"}},
        {"model": "sim", "input": {"messages": [message]}, "deadline": BROKEN},
        {"model": "sim", "input": BROKEN},
    ]
    answers = [stack.http.post("/v1/jobs", json=body) for body in bodies]
    answers.append(stack.http.post("/v1/jobs", content=f'{{"model": "sim", "input": "{BROKEN}'))
    answers.append(stack.http.post("/v1/jobs", content=b"\xff\xfe" + BROKEN.encode()))
    assert all(400 <= answer.status_code < 500 for answer in answers), [answer.status_code for answer in answers]
    told = {answer.content for answer in answers}
    good = {"custom_id": "x", "method": "POST", "url": CHAT, "body": {"model": "sim", "messages": [message]}}
    for line in (
        f'{{"custom_id": "x", "body": "{BROKEN}',
        json.dumps({**good, "body": BROKEN}),
        json.dumps({**good, "body": {"model": "sim", "messages": BROKEN}}),
        f"{json.dumps(good)}\n{json.dumps(good)}",  # the same custom_id twice
    ):
        file = stack.openai.files.create(file=("b.jsonl", line.encode()), purpose="batch")
        batch = stack.openai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert batch.status == "failed"
        told.add(batch.to_json().encode())
    return told


def flower_pages(stack: RunningStack, job: str) -> set[bytes]:
    password = (stack.data_dir / "flower-password").read_text().strip()
    with httpx.Client(
        base_url=stack.state.flower_url or "", auth=("waybill", password), timeout=20, trust_env=False
    ) as flower:
        until(lambda: job in flower.get("/api/tasks?limit=1000").text, patience_s=30, what="Flower knows the job")
        tasks = list(flower.get("/api/tasks?limit=1000").json())
        paths = ["/", "/workers", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks?limit=1000"]
        paths += [f"{page}/{task}" for task in tasks for page in ("/task", "/api/task/info")]
        answers = [flower.get(path) for path in [*paths, "/api/queues/length"]]
    assert {answer.status_code for answer in answers} == {200}
    return {answer.content for answer in answers}


def test_canaries_were_where_they_belong(ran: Run) -> None:
    """Otherwise a search that finds nothing proves nothing."""
    asked = {model: (authorization, prompt) for model, authorization, prompt in ran.seen}
    assert asked["echo"][0] == f"Bearer {KEYS['environment']}"
    assert asked["refuse"][0] == asked["break"][0] == f"Bearer {KEYS['literal']}"
    assert all(PROMPTS[model] in asked[model][1] for model in ("echo", "refuse", "break"))
    answers = {name: json.dumps(job["result"] and job["result"]["body"]) for name, job in ran.jobs.items()}
    assert ANSWER in answers["echo"]
    assert PROMPTS["local"] in answers["local"]
    assert {name: job["status"] for name, job in ran.jobs.items()} == {
        "sim": "succeeded",
        "local": "succeeded",
        "echo": "succeeded",
        "refuse": "failed",
        "break": "failed",
    }
    assert ran.jobs["sim"]["metadata"] == {"note": METADATA}


@pytest.mark.parametrize("place", ["redis", "published", "flower", "explanations"])
def test_the_search_finds_what_is_there(ran: Run, place: str) -> None:
    """The id of a job passes through each of these places, plain or in a body of kombu's."""
    job = ran.jobs["sim"]["id"]
    assert holds(ran.places[place], job if place == "flower" else job.removeprefix("job_"))


PLACES = [
    "errors",
    "flower",
    "redis",
    "published",
    "files of the Redis",
    "logs",
    "metrics",
    "argv",
    "stack.json",
    "models",
    "explanations",
    "dead letters",
    "catalogs",
    "what routing keeps",
    "answers of routing",
]


@pytest.mark.parametrize("place", PLACES)
def test_no_canary_is_in(ran: Run, place: str) -> None:
    assert ran.places[place], "nothing was searched"
    assert [text for text in CANARIES if holds(ran.places[place], text)] == []


def test_every_place_was_searched(ran: Run) -> None:
    assert set(PLACES) == set(ran.places)
