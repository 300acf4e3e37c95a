"""Finds words in a long text at the speed of memory, and gives what stands around them: for patterns that are slow alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_PLACES = 200  # where a word stands that are looked at, each


def sought(words: Sequence[str]) -> tuple[bytes, ...]:
    """Words to look for, as `Windows.around` wants them: their letters a to z in lower case."""
    return tuple(word.encode() for word in words)


class Windows:
    """A text in UTF-8, as it is and with the letters A to Z in lower case; the places of both are the same."""

    def __init__(self, text: str) -> None:
        self._original = text.encode("utf-8", "surrogatepass")
        self._folded = self._original.lower()
        self.is_ascii = len(self._original) == len(text)

    def holds(self, word: bytes) -> bool:
        return word in self._original

    def around(self, words: Sequence[bytes], *, width: int, before: int = 0) -> Iterator[str]:
        """What stands from each of `words` on: `width` bytes, and `before` bytes ahead of it. At most MOST_PLACES of each.

        The letters a to z of `words` match in lower and upper case, their other letters as they stand.
        """
        for word in words:
            if self.is_ascii and not word.isascii():
                continue
            place = self._folded.find(word)
            for _count in range(MOST_PLACES):
                if place < 0:
                    break
                window = self._original[max(place - before, 0) : place + width]
                yield window.decode("utf-8", "ignore")
                place = self._folded.find(word, place + len(word))
