"""Counts prompts exactly, with the tokenizers that models name in the catalog, in the place of an estimate.

Only here is a job's model known for good, and only models with `model_info.router.tokenizer` cost anything: 43 us of CPU for a
kB of text, and 140 MB for each process. The library is the extra `tokenizer`; without it the estimates stand.
"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from router_service.chat.request import read_chat
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from router_service.catalog.models import Model
    from router_service.chat.tokens import Count
    from router_service.store.calls import Claim
    from workers.job import Job

log = logger(__name__)
# In characters. The library keeps the GIL for a piece, 1 to 6 ms, and refuses more than 200,000 tokens: four a character at most.
PIECE = 50_000


def load(encoding: str) -> Count:
    """The counter of an encoding. Takes most of a second; raises ImportError where the extra is not installed."""
    import bpe_openai  # noqa: PLC0415 an extra

    # `encode_ordinary` takes what looks like a special token, such as <|endoftext|>, for the plain text that it is.
    encode = bpe_openai.get_encoding(encoding).encode_ordinary
    return lambda text: sum(len(encode(piece)) for piece in pieces(text))


def pieces(text: str, *, most: int = PIECE) -> Iterator[str]:
    """Cut before a space, where tokens begin anyway. A cut in a run of spaces, or in a text without any, may cost a token."""
    start = 0
    while len(text) - start > most:
        space = text.rfind(" ", start + 1, start + most)
        end = space if space > 0 else start + most
        yield text[start:end]
        start = end
    yield text[start:]


class Tokenizers:
    """Each encoding is loaded once, when it is first asked for; what cannot be counted keeps its estimate."""

    def __init__(self, load: Callable[[str], Count] = load) -> None:
        self._load = load
        self._counts: dict[str, Count | None] = {}
        self._loading = threading.Lock()  # desks count at the same time

    async def count(self, jobs: Sequence[Job], *, models: Mapping[str, Model]) -> None:
        """Put counts in the place of the estimates of claimed jobs, in a thread: the loop goes on between two pieces."""
        asked = [
            (job, job.claim, model.tokenizer)
            for job in jobs
            if (model := models.get(job.model_id)) is not None and model.tokenizer is not None and job.claim is not None
        ]
        if not asked:
            return
        counts = await asyncio.to_thread(self._count_all, [(claim, encoding) for _job, claim, encoding in asked])
        for (job, claim, _encoding), tokens_in in zip(asked, counts, strict=True):
            if tokens_in is not None:
                job.claim = replace(claim, tokens_in=tokens_in, is_counted=True)

    def _count_all(self, asked: Sequence[tuple[Claim, str]]) -> list[int | None]:
        return [self._count_one(claim, encoding) for claim, encoding in asked]

    def _count_one(self, claim: Claim, encoding: str) -> int | None:
        """The tokens of a prompt as its provider will count them; None where the estimate has to do."""
        try:
            count = self._counter(encoding)
            return None if count is None else read_chat(json.loads(claim.body), count=count).tokens_in
        except BaseException as error:  # noqa: BLE001 a panic in Rust is no Exception; a thread gets no signals
            # Its text is not logged: it may quote the prompt.
            log.warning("a prompt could not be counted", job=str(claim.id), error_type=type(error).__name__)
            return None

    def _counter(self, encoding: str) -> Count | None:
        with self._loading:
            if encoding not in self._counts:
                self._counts[encoding] = None
                try:
                    self._counts[encoding] = self._load(encoding)
                except ImportError:
                    log.warning(
                        "prompts are estimated, not counted: install the extra, pip install '.[tokenizer]'",
                        tokenizer=encoding,
                    )
            return self._counts[encoding]
