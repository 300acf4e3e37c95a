"""A provider of our own that speaks OpenAI's wire and knows the truth: what arrived, when, and whether it was allowed.

    python -m router_service.evaluation.oracle --port 0 --spec FILE

`FILE` is JSON, `{"models": {NAME: the fields of an Offer}}`. The first line on stdout is the port. It listens on loopback
only, ends on SIGTERM or after `--seconds`, and keeps all it saw in memory:

    POST /v1/chat/completions   an answer after the model's latency, or 429 with Retry-After; never a stream
    GET  /log                   every call, and per model slots, windows and refusals

A prompt begins with `[TAG out=N]`: who is asking, and how many tokens the answer has (max_tokens bounds them). Plain
asyncio, not the web framework: a call costs some 0.35 ms here, so that the oracle is never what a measurement measures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_service.evaluation.allowance import Call, Ledger, Offer, tokens_of

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Mapping

LOOPBACK = "127.0.0.1"
HEAD = re.compile(r"\[(?P<tag>\S+) out=(?P<out>\d+)\] ")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
MOST_BYTES = 1_000_000
FILLER = "The harbour opens at six and the first ships come in with the tide. "


def prompt(tag: str, *, tokens_in: int, tokens_out: int) -> str:
    """A prompt of exactly so many tokens by the oracle's count, that asks for an answer of `tokens_out`."""
    head = f"[{tag} out={tokens_out}] "
    length = tokens_in * 4
    return (head + FILLER * (length // len(FILLER) + 1))[: max(length, len(head))]


class Oracle:
    """The provider over any clock. `pause` waits for a call's latency."""

    def __init__(self, offers: Mapping[str, Offer], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.ledgers = {name: Ledger(offer) for name, offer in offers.items()}
        self.calls: list[Call] = []
        self._clock = clock
        self._cpu_before_s = time.process_time()

    async def complete(self, body: bytes) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        """Status, answer and headers of one call. It leaves before its answer does: nobody can know of a slot too early."""
        read = _read(body)
        ledger = self.ledgers.get(read["model"]) if read else None
        if read is None or ledger is None:
            return 404, _error("model_not_found", "no such model, or not a request of the benchmark's"), {}
        call = Call(
            model=read["model"],
            tag=read["tag"],
            tokens=read["tokens_in"] + read["tokens_out"],
            arrived_s=self._clock(),
        )
        self.calls.append(call)
        refusal = ledger.admit(call.arrived_s, tokens=call.tokens)
        if refusal is not None:
            call.refused = refusal.limit
            wait_ms = max(round(refusal.retry_after_s * 1000), 1)
            headers = {"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))}
            return 429, _error("rate_limit_exceeded", f"over the limit: {refusal.limit}"), headers
        try:
            await asyncio.sleep(ledger.offer.latency_of(call.tag))
        finally:
            ledger.leave()
            call.ended_s = self._clock()
        return 200, _answer(read), {}

    def log(self) -> dict[str, Any]:
        return {
            "now_s": self._clock(),
            "cpu_s": time.process_time() - self._cpu_before_s,
            "models": {name: ledger.as_json() for name, ledger in self.ledgers.items()},
            "calls": [call.as_json() for call in self.calls],
        }

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, as long as its client keeps it. A client that goes away does not end the call that it made."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = LENGTH.search(head)
                if length is None and head.startswith(b"POST"):
                    break
                body = await reader.readexactly(min(int(length[1]), MOST_BYTES)) if length else b""
                status, answer, headers = await self._route(head, body)
                writer.write(_response(status, answer, headers))
                await writer.drain()
        writer.close()

    async def _route(self, head: bytes, body: bytes) -> tuple[int, dict[str, Any], Mapping[str, str]]:
        if head.startswith(b"POST /v1/chat/completions "):
            return await self.complete(body)
        if head.startswith(b"GET /log "):
            return 200, self.log(), {}
        return 404, _error("not_found", "POST /v1/chat/completions or GET /log"), {}


def _read(body: bytes) -> dict[str, Any] | None:
    """What the oracle counts of a request; None for one that is not of the benchmark's making."""
    try:
        request = json.loads(body)
        content = "".join(message["content"] for message in request["messages"])
        head = HEAD.match(content)
        if head is None:
            return None
        tokens_out = min(int(head["out"]), int(request.get("max_tokens") or head["out"]))
        return {
            "model": request["model"],
            "tag": head["tag"],
            "tokens_in": tokens_of(len(content)),
            "tokens_out": tokens_out,
        }
    except (ValueError, KeyError, TypeError):
        return None


def _answer(read: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{read['tag']}",
        "object": "chat.completion",
        "created": 0,
        "model": read["model"],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "done"}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": read["tokens_in"],
            "completion_tokens": read["tokens_out"],
            "total_tokens": read["tokens_in"] + read["tokens_out"],
        },
    }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "requests", "param": None, "code": code}}


def _response(status: int, answer: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    body = json.dumps(answer, separators=(",", ":")).encode()
    lines = [f"HTTP/1.1 {status} -", "content-type: application/json", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join((*lines, "", "")).encode() + body


def offers_of(path: Path) -> dict[str, Offer]:
    return {name: Offer(**fields) for name, fields in json.loads(path.read_text())["models"].items()}


async def run(offers: Mapping[str, Offer], *, port: int, most_s: float) -> None:
    """Serve until SIGTERM or SIGINT, and for `most_s` seconds at the most."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = await asyncio.start_server(Oracle(offers).serve, LOOPBACK, port, limit=MOST_BYTES, backlog=1000)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), most_s)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m router_service.evaluation.oracle")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3600.0, help="how long it lives at the most")
    given = parser.parse_args()
    asyncio.run(run(offers_of(given.spec), port=given.port, most_s=given.seconds))


if __name__ == "__main__":
    main()
