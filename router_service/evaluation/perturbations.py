"""Ways to say the same thing: typos, paraphrases by rule, other names. Seeded and pure.

None changes a number, a formula or the order of options, so that the right answer stays the right answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    Perturb: TypeAlias = Callable[[str, Random], str]

WORD = re.compile(r"[A-Za-z]{4,}")
TYPO_SHARE = 0.03  # of the words of four letters or more; at least one
NEIGHBOURS = {
    "a": "qs", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et", "s": "ad", "t": "ry",
    "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
SYNONYMS = {
    "which of the following": "which one of these",
    "what is": "what would be",
    "calculate": "compute",
    "determine": "find out",
    "find": "work out",
    "how many": "what number of",
    "approximately": "roughly",
    "because": "since",
    "however": "but",
    "therefore": "so",
    "large": "big",
    "begin": "start",
    "obtain": "get",
    "purchase": "buy",
    "required": "needed",
    "assume": "suppose",
    "correct": "right",
    "each": "every",
    "difference between": "gap between",
    "statement": "claim",
}
SYNONYM = re.compile(r"\b(?:" + "|".join(sorted(SYNONYMS, key=len, reverse=True)) + r")\b", re.IGNORECASE)
PREFIXES = (
    "Please answer this: ",
    "I have a question. ",
    "Could you help me with this? ",
    "Here is a problem for you:\n",
    "Hi! ",
)
SUFFIXES = ("\nThank you!", "\nThanks in advance.", "\nPlease be careful.", "")
SENTENCE = re.compile(r"(?<=[a-z][.!?])[^\S\n]+(?=[A-Z])")  # not after the letter of an option
LEAD = re.compile(r"^(If|When|Given|Suppose) ([^,?.\n]{5,80}), ([^\n?.]{5,200}\?)", re.MULTILINE)
NAMES = (
    "Alice", "Bob", "Carol", "James", "Janet", "John", "Mary", "Mike", "Peter", "Robert", "Sam", "Sarah", "Smith",
    "Tom", "Toula", "Wendi", "David", "Emma", "Josh", "Kylar", "Eliza", "Carlos", "Melanie", "Claire", "Raymond",
    "Jackson", "Jerry", "Marissa", "Lisa", "Anna", "George", "Henry", "Jason", "Kate", "Laura", "Mark", "Nancy",
    "Paul", "Rachel", "Steve", "Susan", "Tim", "William", "Jones", "Brown",
)  # fmt: skip
OTHERS = (
    "Amara",
    "Bjorn",
    "Chidi",
    "Dalia",
    "Emre",
    "Farah",
    "Goran",
    "Hana",
    "Ivo",
    "Jun",
    "Kofi",
    "Leila",
    "Mateo",
    "Noor",
    "Oksana",
)
NAME = re.compile(r"\b(?:" + "|".join(NAMES) + r")\b")


def typos(text: str, random: Random) -> str:
    """Some long words with two letters swapped, one left out, doubled, or hit beside its key."""
    places = [match.span() for match in WORD.finditer(text)]
    hit = random.sample(places, min(len(places), max(1, round(len(places) * TYPO_SHARE))))
    for start, end in sorted(hit, reverse=True):
        text = text[:start] + _mistyped(text[start:end], random) + text[end:]
    return text


def _mistyped(word: str, random: Random) -> str:
    at = random.randrange(1, len(word) - 1)
    match random.randrange(4):
        case 0:
            return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        case 1:
            return word[:at] + word[at + 1 :]
        case 2:
            return word[:at] + word[at] + word[at:]
        case _:
            near = NEIGHBOURS.get(word[at].lower(), word[at])
            return word[:at] + random.choice(near) + word[at + 1 :]


def synonyms(text: str, random: Random) -> str:
    """Common words of questions replaced by others that mean the same, each with a chance of two in three."""

    def other(match: re.Match[str]) -> str:
        if random.random() < 1 / 3:
            return match.group()
        new = SYNONYMS[match.group().lower()]
        return new.capitalize() if match.group()[0].isupper() else new

    return SYNONYM.sub(other, text)


def politeness(text: str, random: Random) -> str:
    """Words of courtesy around the question."""
    return random.choice(PREFIXES) + text + random.choice(SUFFIXES)


def clauses(text: str, random: Random) -> str:  # noqa: ARG001 all perturbations are called alike
    """`If A, B?` becomes `B if A?`: the condition after what is asked."""

    def turned(match: re.Match[str]) -> str:
        lead, condition, asked = match.groups()
        return f"{asked[0].upper()}{asked[1:-1]}, {lead.lower()} {condition}?"

    return LEAD.sub(turned, text)


def spacing(text: str, random: Random) -> str:
    """Blank lines and double blanks between sentences, and typographic quotes."""
    gap = random.choice(("  ", "\n", "\n\n"))
    return SENTENCE.sub(gap, text).replace("'", "\u2019")


def casing(text: str, random: Random) -> str:
    """All in lower case, or words of the first line capitalised."""
    if random.random() < 0.5:
        return text.lower()
    first, mark, rest = text.partition("\n")
    return first.title() + mark + rest


def paraphrase(text: str, random: Random) -> str:
    """Synonyms, turned clauses, courtesy and spacing together."""
    for step in (synonyms, clauses, politeness, spacing):
        text = step(text, random)
    return text


def names(text: str, random: Random) -> str:
    """People's names replaced, the same name always by the same other."""
    pool = random.sample(OTHERS, len(OTHERS))
    given: dict[str, str] = {}
    return NAME.sub(lambda match: given.setdefault(match.group(), pool[len(given) % len(pool)]), text)


PERTURBATIONS: Mapping[str, Perturb] = {
    "typos": typos,
    "paraphrase": paraphrase,
    "synonyms": synonyms,
    "politeness": politeness,
    "clauses": clauses,
    "spacing": spacing,
    "casing": casing,
    "names": names,
}
