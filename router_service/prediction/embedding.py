"""Static word vectors: the mean of the vectors of a text's word pieces.

The table is the one that the package `wordllama` ships in its wheel (32,000 pieces, 256 numbers each, MIT). Its two files are
read directly: importing the package would bring a tokenizer library and, in its newer versions, looks for the files in the
wrong folder. Words are cut greedily into the longest known pieces, which for nearly all English words is what the vocabulary's
own merges give; what a predictor was trained with and what it sees are cut alike, and that is what counts.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_service.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PACKAGE = "wordllama"
VECTORS, VOCABULARY = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
WORD_START = "\u2581"
WORDS = re.compile(r"[^\W\d_]+|\d|_+|[^\w\s]")  # digits one by one: a number's size is no word
MOST_CHARACTERS = 8_000  # of a text; longer ones are read at both ends
MOST_CACHED = 50_000


class Bag(NamedTuple):
    """A text's different pieces, ascending, and the roots of their counts: what comes again and again does not drown the rest."""

    pieces: NDArray[np.intp]
    roots: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedding:
    """Pieces and their vectors, float32 [pieces, size]. `cut` remembers how words were cut, up to a bound."""

    pieces: Mapping[str, int]
    vectors: NDArray[np.float32]
    cut: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        return int(self.vectors.shape[1])

    def bag(self, text: str) -> Bag:
        ids = np.array([piece for word in WORDS.findall(text) for piece in self._cut(word)], np.intp)
        pieces, counts = np.unique(ids, return_counts=True)
        return Bag(pieces, np.sqrt(counts))

    def means(self, bags: Sequence[Bag]) -> NDArray[np.float32]:
        """[bags, size]: the mean of each bag's pieces by their roots; zeros where it has none."""
        out = np.zeros((len(bags), self.size), np.float32)
        for row, (pieces, roots) in enumerate(bags):
            if len(pieces):
                out[row] = (roots / roots.sum()).astype(np.float32) @ self.vectors[pieces]
        return out

    def _cut(self, word: str) -> tuple[int, ...]:
        found = self.cut.get(word)
        if found is None:
            found = tuple(_pieces(WORD_START + word, self.pieces)) or tuple(_pieces(word, self.pieces))
            if len(self.cut) >= MOST_CACHED:
                self.cut.clear()
            self.cut[word] = found
        return found


def _pieces(word: str, pieces: Mapping[str, int]) -> list[int]:
    """The longest known piece from the left, again and again; a character that no piece covers is left out."""
    found, start = [], 0
    while start < len(word):
        for end in range(min(len(word), start + 16), start, -1):
            piece = pieces.get(word[start:end])
            if piece is not None:
                if word[start:end] != WORD_START:
                    found.append(piece)
                start = end
                break
        else:
            start += 1
    return found


@cache
def shipped() -> Embedding:
    """The table of the installed package; read once in a process (0.3 s, 33 MB). SettingsError: it is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(f"the word vectors of the package {PACKAGE!r} are not installed; run `make setup`")
    folder = Path(spec.submodule_search_locations[0])
    vocabulary = json.loads((folder / VOCABULARY).read_text("utf-8"))["model"]["vocab"]
    return Embedding(pieces=vocabulary, vectors=read_safetensors(folder / VECTORS))


def read_safetensors(path: Path) -> NDArray[np.float32]:
    """The one tensor of a safetensors file as float32: 8 bytes with the header's length, a JSON header, raw numbers.

    Format: https://github.com/huggingface/safetensors#format. SettingsError: no such file, or another number of tensors or type.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    length = int.from_bytes(raw[:8], "little")
    tensors = [value for name, value in json.loads(raw[8 : 8 + length]).items() if name != "__metadata__"]
    kinds = {"F16": np.float16, "F32": np.float32}
    if len(tensors) != 1 or tensors[0]["dtype"] not in kinds:
        raise SettingsError(f"{path}: expected one tensor of F16 or F32")
    begin, end = tensors[0]["data_offsets"]
    numbers = np.frombuffer(raw[8 + length + begin : 8 + length + end], dtype=kinds[tensors[0]["dtype"]])
    return numbers.reshape(tensors[0]["shape"]).astype(np.float32)
