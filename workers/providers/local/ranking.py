"""Three ways to say which sentences matter, from nearly free to thorough; pure functions of the sentences.

lead       position alone: writers put the point first (the classic baseline).
frequency  how much of what the document is about a sentence holds (Luhn 1958; the tf-idf centroid of MEAD,
           Radev et al. 2004; the mean over the words is SumBasic's, Nenkova & Vanderwende 2005).
lexrank    centrality in the graph of similar sentences (Erkan & Radev 2004, JAIR 22): idf-modified cosine
           above a threshold, then PageRank by power iteration.

`pick` chooses by maximal marginal relevance (Carbonell & Goldstein 1998) within a budget of words.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING, Final, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from workers.providers.local.text import Sentence

_MAX_GRAPH: Final = 400
_THRESHOLD: Final = 0.1
_DAMPING: Final = 0.85
_TOLERANCE: Final = 1e-5
_MAX_ROUNDS: Final = 60
_FILLER: Final = 0.25  # below this share of the best score a sentence only fills up, and stays out
_LENGTH_POWER: Final = 0.7
_EARLY: Final = 1.0  # the first sentence counts up to so much more ...
_EARLY_DECAY: Final = 0.05  # ... falling to a third of that over 20 sentences


class Tier(StrEnum):
    """How much thought a summary gets; the operator's catalog names one per `local/` model."""

    LEAD = "lead"  # the first sentences of prose
    FREQUENCY = "frequency"  # the sentences nearest to what the document is about
    LEXRANK = "lexrank"  # the sentences most others agree with


def score(sentences: Sequence[Sentence], *, tier: Tier) -> list[float]:
    """One score in 0..1 per sentence."""
    match tier:
        case Tier.LEAD:
            return lead(sentences)
        case Tier.FREQUENCY:
            return frequency(sentences)
        case Tier.LEXRANK:
            return lexrank(sentences)
    assert_never(tier)


def lead(sentences: Sequence[Sentence]) -> list[float]:
    return [(1.0 if s.prose >= 0.3 else s.prose) / (1.0 + s.position) for s in sentences]


def frequency(sentences: Sequence[Sentence]) -> list[float]:
    idf = inverse_frequencies(sentences)
    counts = Counter(term for s in sentences for term in s.terms)
    weight = {term: math.log1p(n) * idf[term] for term, n in counts.items()}
    raw = [_centroid_score(s, weight) for s in sentences]
    return _with_priors(sentences, _normal(raw))


def _centroid_score(sentence: Sentence, weight: Mapping[str, float]) -> float:
    """Sum over the distinct terms by a power of the length: between sum (long ones win) and mean."""
    if not sentence.terms:
        return 0.0
    total = sum(weight[term] for term in sorted(set(sentence.terms)))
    return total / float(len(sentence.terms) ** _LENGTH_POWER)


def lexrank(sentences: Sequence[Sentence]) -> list[float]:
    chosen = _prefilter(sentences)
    kept = [sentences[i] for i in chosen]
    ranks = _power_iteration(_similarity_graph(kept))
    scores = [0.0] * len(sentences)
    for at, value in zip(chosen, _normal(ranks), strict=True):
        scores[at] = value
    return _with_priors(sentences, scores)


def _prefilter(sentences: Sequence[Sentence]) -> list[int]:
    """Indexes of at most _MAX_GRAPH sentences, the graph being quadratic: the best by frequency, in order."""
    if len(sentences) <= _MAX_GRAPH:
        return list(range(len(sentences)))
    cheap = frequency(sentences)
    best = sorted(range(len(sentences)), key=lambda i: (-cheap[i], i))[:_MAX_GRAPH]
    return sorted(best)


def inverse_frequencies(sentences: Sequence[Sentence]) -> dict[str, float]:
    """Idf of each term over the document's own sentences, always positive."""
    document_counts = Counter(term for s in sentences for term in set(s.terms))
    return {term: math.log(1.0 + len(sentences) / n) for term, n in document_counts.items()}


def unit_vectors(sentences: Sequence[Sentence], idf: Mapping[str, float]) -> list[dict[str, float]]:
    """tf-idf vectors of length 1; an empty one for a sentence without terms."""
    vectors: list[dict[str, float]] = []
    for sentence in sentences:
        vector = {term: n * idf[term] for term, n in Counter(sentence.terms).items()}
        norm = math.sqrt(sum(v * v for v in vector.values()))
        vectors.append({term: v / norm for term, v in vector.items()} if norm else {})
    return vectors


def _similarity_graph(sentences: Sequence[Sentence]) -> list[dict[int, float]]:
    """Per sentence its neighbours with a cosine over the threshold, found through an inverted index."""
    vectors = unit_vectors(sentences, inverse_frequencies(sentences))
    postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
    graph: list[dict[int, float]] = [{} for _ in sentences]
    for i, vector in enumerate(vectors):
        cosines: dict[int, float] = defaultdict(float)
        for term, value in vector.items():
            posting = postings[term]
            for j, other in posting:
                cosines[j] += value * other
            posting.append((i, value))
        for j, cosine in cosines.items():
            if cosine >= _THRESHOLD:
                graph[i][j] = graph[j][i] = cosine
    return graph


def _power_iteration(graph: Sequence[Mapping[int, float]]) -> list[float]:
    """PageRank over weighted edges; a sentence without neighbours keeps only the teleport share."""
    size = len(graph)
    if not size:
        return []
    shares = [[(j, w / sum(edges.values())) for j, w in edges.items()] for edges in graph]
    ranks = [1.0 / size] * size
    for _ in range(_MAX_ROUNDS):
        following = [(1.0 - _DAMPING) / size] * size
        for rank, edges in zip(ranks, shares, strict=True):
            for j, share in edges:
                following[j] += _DAMPING * rank * share
        moved = sum(abs(a - b) for a, b in zip(ranks, following, strict=True))
        ranks = following
        if moved < _TOLERANCE:
            break
    return ranks


def _with_priors(sentences: Sequence[Sentence], scores: Sequence[float]) -> list[float]:
    """Weigh in how much of a sentence it is and, slightly, how early it stands."""
    return [
        value * s.prose * (1.0 + _EARLY * math.exp(-_EARLY_DECAY * s.position))
        for value, s in zip(scores, sentences, strict=True)
    ]


def _normal(values: Sequence[float]) -> list[float]:
    top = max(values, default=0.0)
    return [value / top for value in values] if top > 0 else list(values)


def pick(sentences: Sequence[Sentence], scores: Sequence[float], *, max_words: int, novelty: float) -> list[int]:
    """Indexes of the chosen, in document order; `novelty` 0..1 is the price of repeating them.

    Takes the best that still fits until none does. The first one may be longer than max_words.
    """
    vectors = unit_vectors(sentences, inverse_frequencies(sentences)) if novelty else []
    repeated = [0.0] * len(sentences)
    left, chosen = max_words, list[int]()
    least = _FILLER * max(scores, default=0.0) if novelty else 0.0
    open_ = {i for i in range(len(sentences)) if scores[i] > least}
    while open_ and left > 0:
        best = max(open_, key=lambda i: (scores[i] * (1.0 - novelty * repeated[i]), -i))
        open_.discard(best)
        if chosen and sentences[best].words > left:
            continue
        chosen.append(best)
        left -= sentences[best].words
        open_ = {i for i in open_ if sentences[i].words <= left}
        for i in open_ if novelty else ():
            repeated[i] = max(repeated[i], _dot(vectors[i], vectors[best]))
    return sorted(chosen)


def _dot(left: Mapping[str, float], right: Mapping[str, float]) -> float:
    if len(left) > len(right):
        left, right = right, left
    return sum(value * right.get(term, 0.0) for term, value in left.items())
