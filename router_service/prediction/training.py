"""How a predictor is made: in closed form, the same from the same examples, in seconds for some ten thousand of them.

1. Landmarks are drawn from all examples: the view in which all that follows is linear.
2. Domains: least squares on the labels, from landmarks and single words, sharpened into probabilities. Every later step goes by
   *guessed* domains, as they will be used.
3. Few factors: the directions in which outcomes of all models vary together (the first is difficulty) are predicted from the
   text, each with the penalty that suits it. Predictions that train the next stage are made without the row itself.
4. Each model's outcome from domains and factors: a free classifier for each model would choose by its own noise. Of a pair of
   models only the gain of the one over the other matters, largest for questions neither easy nor hopeless: its outcomes are
   predicted in logits, by weights drawn to those of both together. Pools of many models lose by that.
5. A fraction of what is left is taken over by the landmarks directly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.errors import InvalidRequestError
from router_service.prediction import elsewhere, features
from router_service.prediction.embedding import shipped
from router_service.prediction.examples import Examples, join, with_bare_copies
from router_service.prediction.kernel import View
from router_service.prediction.linear import (
    column_means,
    fill,
    logistic,
    logit,
    one_hot,
    ridge,
    ridge_left_out,
    sigmoid,
    softmax,
)
from router_service.prediction.predictor import Heads, Predictor, nearness
from router_service.prediction.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_service.prediction.embedding import Embedding

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Numbers chosen by repeated cross-validation on the training parts, see docs/decisions/0015-learned-quality.md."""

    landmarks: int = 1000
    seed: int = 0
    domain_penalty: float = 1.0
    domain_sharpness: float = 10.0
    vocabulary: int = 3000  # pieces of words that tell the domain
    table_penalty: float = 20.0  # questions of a domain count as this many more of the average
    factors: int = 8
    factor_penalties: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    factor_scale: float = 0.5
    pool_penalty: float = 60.0
    pair_penalty: float = 15.0  # of a model's own weights
    pair_level_penalty: float = 1.0  # of those that both share, for each of them
    rest_penalty: float = 10.0
    rest_share: float = 0.3
    tokens_penalty: float = 3.0
    most_excess: float = 4.0  # of a length, in mean lengths of the model
    far_quantile: float = 0.002
    near_quantile: float = 0.1


LEAST_EXAMPLES = 20
PAIR = 2  # models


@dataclass(frozen=True, slots=True, kw_only=True)
class _Views:
    """Of all examples: Nystroem features, guessed domains (without the row itself), for a pair what other models teach."""

    landmarks: Floats
    domain: Floats
    taught: Floats


def train(
    parts: Sequence[Examples],
    *,
    recipe: Recipe | None = None,
    general: bool = False,
    about: Mapping[str, Any] | None = None,
    embedding: Embedding | None = None,
) -> Predictor:
    """A predictor for all models in the parts; a `general` one knows domains and difficulty, and none of the models.

    `about["left_out"]` tells how well domain and difficulty were predicted of texts without themselves.
    InvalidRequestError: fewer than LEAST_EXAMPLES texts in all.
    """
    recipe, embedding = recipe or Recipe(), embedding or shipped()
    parts = join([with_bare_copies(part) for part in parts] if general else parts)
    texts = [text for part in parts for text in part.texts]
    if len(texts) < LEAST_EXAMPLES:
        raise InvalidRequestError(f"{len(texts)} labelled texts; at least {LEAST_EXAMPLES} are needed to train")
    words, form, bags = features.read(texts, embedding)
    view = _half(View.fit(words, form, count=recipe.landmarks, stem_weight=features.STEM_WEIGHT, seed=recipe.seed))
    scaled = view.scale(words, form, stem_weight=features.STEM_WEIGHT)
    similarity = view.similarity(scaled)
    whitening = view.whitening()
    seen = similarity.astype(np.float64) @ whitening
    given = [domain for part in parts for domain in part.domains]
    vocabulary = Vocabulary.fit(bags, most=recipe.vocabulary)
    twins = _twins(texts)
    domains, scores, guessed = _domains(np.hstack([seen, vocabulary.rows(bags)]), given, twins, recipe)
    stems = view.stems(scaled).astype(np.float16).astype(np.float32)  # as the file keeps them
    lessons = _lessons([] if general else parts, stems)
    views = _Views(landmarks=seen, domain=guessed, taught=elsewhere.similarity(stems, lessons[0]) @ lessons[1])
    heads, fit = _heads(parts, views, twins, recipe, general=general)
    scores_left_out = {"domain_accuracy": _accuracy(domains, given, guessed), "difficulty_correlation": fit}
    far, near = np.quantile(_nearness_to_others(similarity), [recipe.far_quantile, recipe.near_quantile])
    return Predictor(
        models=() if general else tuple(model for part in parts for model in part.models),
        domains=domains,
        view=view,
        vocabulary=vocabulary,
        heads=_by_landmark(scores, heads, whitening),
        far=round(float(far), 6),
        near=round(float(near), 6),
        about={**(about or {}), "left_out": scores_left_out},
        by_logit=() if general else tuple(model for part in parts if _is_pair(part.outcomes) for model in part.models),
        elsewhere=elsewhere.Elsewhere(stems=lessons[0], by_stem=(lessons[1] @ heads[3]).astype(np.float32))
        if len(lessons[0])
        else None,
        embedding=embedding,
    )


def _by_landmark(
    scores: tuple[Floats, Floats], heads: tuple[Floats, Floats, Floats, Floats], whitening: Floats
) -> Heads:
    """As they are kept: over similarities to landmarks instead of over whitened ones."""
    return Heads(
        domain_base=scores[0].astype(np.float32),
        domain_by_landmark=(whitening @ scores[1][: len(whitening)]).astype(np.float32),
        domain_by_piece=scores[1][len(whitening) :].astype(np.float32),
        base=heads[0].astype(np.float32),
        by_domain=heads[1].astype(np.float32),
        by_landmark=(whitening @ heads[2]).astype(np.float32),
    )


def _lessons(parts: Sequence[Examples], stems: Singles) -> tuple[Singles, Floats]:
    """(stems of questions, weights [questions, factors]) that pairs among the parts learn from: of all parts that are no pair.

    Without a pair there are none: the factors of a pool are its own.
    """
    ends = np.cumsum([0, *(len(part.texts) for part in parts)])
    teachers = [at for at, part in enumerate(parts) if not _is_pair(part.outcomes)]
    rows = [slice(ends[at], ends[at + 1]) for at in teachers if len(teachers) < len(parts)]
    taught = [elsewhere.teach(stems[each], parts[at].outcomes) for at, each in zip(teachers, rows, strict=False)]
    weights = np.zeros((sum(map(len, taught)), sum(each.shape[1] for each in taught)))
    row = column = 0
    for each in taught:
        weights[row : row + len(each), column : column + each.shape[1]] = each
        row, column = row + len(each), column + each.shape[1]
    return np.vstack([stems[:0], *(stems[each] for each in rows)]), weights


def _twins(texts: Sequence[str]) -> Ints:
    """For each text the place of another that is the same question, with or without its options; its own where there is none."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(features.stem(text), []).append(place)
    twins = np.arange(len(texts))
    for same in places.values():
        for left, right in zip(same[::2], same[1::2], strict=False):
            twins[left], twins[right] = right, left
    return twins


def _is_pair(outcomes: Floats) -> bool:
    return len(outcomes.T) <= PAIR


def _half(view: View) -> View:
    """Landmarks as the file keeps them."""
    return View(
        centre=view.centre,
        form_mean=view.form_mean,
        form_scale=view.form_scale,
        landmarks=view.landmarks.astype(np.float16).astype(np.float32),
    )


def _nearness_to_others(similarity: NDArray[np.float32]) -> NDArray[np.float32]:
    """A landmark is nearest to itself: that one similarity does not count."""
    others = np.where(similarity > 1 - 1e-3, 0, similarity)
    return nearness(others)


def _domains(
    seen: Floats, given: Sequence[str | None], twins: Ints, recipe: Recipe
) -> tuple[tuple[str, ...], tuple[Floats, Floats], Floats]:
    """Names, (base, weights) of the scores, and probabilities of each row as guessed without it."""
    domains = tuple(sorted({domain for domain in given if domain is not None})) or ("any",)
    labelled = np.array([domain is not None for domain in given])
    if not labelled.any():
        zeros = np.zeros((seen.shape[1], 1))
        return domains, (np.zeros(1), zeros), np.ones((len(seen), 1))
    truth = one_hot(given, domains)
    base = truth[labelled].mean(axis=0)
    rows = np.cumsum(labelled) - 1
    own = np.where(labelled[twins], rows[twins], rows)[labelled]
    weights, left_out = ridge_left_out(seen[labelled], truth[labelled] - base, recipe.domain_penalty, twins=own)
    scores = seen @ weights
    scores[labelled] = left_out
    sharpness = recipe.domain_sharpness
    return domains, (base * sharpness, weights * sharpness), softmax((scores + base) * sharpness)


def _accuracy(domains: Sequence[str], given: Sequence[str | None], guessed: Floats) -> float:
    """Share of the labelled texts whose domain was guessed; 1 without labels."""
    right = [
        domains[best] == name for best, name in zip(guessed.argmax(axis=1), given, strict=True) if name is not None
    ]
    return round(float(np.mean(right)), 4) if right else 1.0


def _heads(
    parts: Sequence[Examples], views: _Views, twins: Ints, recipe: Recipe, *, general: bool
) -> tuple[tuple[Floats, Floats, Floats, Floats], float]:
    """(base, by domain, by feature, by factor taught), columns as in Heads: quality and tokens of all models, difficulty.

    Beside them, how the difficulty correlates with what is predicted of each text without itself.
    """
    ends = np.cumsum([len(part.texts) for part in parts])
    rows = [slice(end - len(part.texts), end) for part, end in zip(parts, ends, strict=True)]
    own = [
        _Views(landmarks=views.landmarks[each], domain=views.domain[each], taught=views.taught[each]) for each in rows
    ]
    hardness = [_hardness(part.outcomes) for part in parts]
    quality, tokens = [], []
    if not general:
        factors = [_factors(part.outcomes, each, recipe) for part, each in zip(parts, own, strict=True)]
        nothing = np.empty((views.landmarks.shape[1], 0))
        for at, part in enumerate(parts):
            others = np.hstack([nothing, *(weights for place, (weights, _) in enumerate(factors) if place != at)])
            head = _pair if _is_pair(part.outcomes) else _pool
            quality.append(head(part.outcomes, own[at], factors[at], others, recipe))
            tokens.append(_tokens(part.tokens_out, own[at], recipe))
    hard = np.concatenate(hardness)
    seen = np.hstack([views.domain, views.landmarks])
    left_out = ridge_left_out(seen, hard[:, None], recipe.tokens_penalty, twins=twins)[1]
    columns = [*quality, *tokens, (np.zeros(1), *_two_stages(hard[:, None], views, recipe))]
    taught = [each[3] if len(each) > 3 else np.zeros((views.taught.shape[1], each[1].shape[1])) for each in columns]
    base, by_domain, by_feature = zip(*(each[:3] for each in columns), strict=True)
    fit = round(float(np.corrcoef(left_out[:, 0], hard)[0, 1]), 4) if hard.std() else 0.0
    return (np.concatenate(base), np.hstack(by_domain), np.hstack(by_feature), np.hstack(taught)), fit


def _factors(outcomes: Floats, views: _Views, recipe: Recipe) -> tuple[Floats, Floats]:
    """(weights, predictions of each row without itself) of the directions in which a part's outcomes vary most."""
    moved = fill(outcomes) - column_means(outcomes)
    factors = moved @ np.linalg.svd(moved, full_matrices=False)[2][: recipe.factors].T
    weights, left_out = _best_penalties(
        views.landmarks, factors / (factors.std(axis=0) + 1e-9), recipe.factor_penalties
    )
    return recipe.factor_scale * weights, recipe.factor_scale * left_out


def _pool(
    outcomes: Floats, views: _Views, factors: tuple[Floats, Floats], others: Floats, recipe: Recipe
) -> tuple[Floats, Floats, Floats]:
    """Heads of a part's models from domains, the part's own factors, and those that other parts taught (weights `others`)."""
    base = column_means(outcomes)
    moved = fill(outcomes) - base
    weights, left_out = np.hstack([factors[0], others]), np.hstack([factors[1], views.landmarks @ others])
    stage = np.hstack([views.domain, left_out])
    solved = ridge(stage, moved, recipe.pool_penalty)
    by_domain, by_factor = np.split(solved, [views.domain.shape[1]])
    rest = ridge(views.landmarks, moved - stage @ solved, recipe.rest_penalty)
    return base, by_domain, weights @ by_factor + recipe.rest_share * rest


def _pair(
    outcomes: Floats, views: _Views, factors: tuple[Floats, Floats], others: Floats, recipe: Recipe
) -> tuple[Floats, Floats, Floats, Floats]:
    """As `_pool`, in logits, and beside the factors by what other models did on nearly the same questions."""
    base, filled = logit(column_means(outcomes)), fill(outcomes)
    weights, left_out = np.hstack([factors[0], others]), np.hstack([factors[1], views.landmarks @ others])
    stage = np.hstack([views.domain, left_out, views.taught])
    solved = logistic(stage, filled, base, recipe.pair_penalty, level_penalty=recipe.pair_level_penalty)
    by_domain, by_factor, by_taught = np.split(solved, np.cumsum([views.domain.shape[1], left_out.shape[1]]))
    p = sigmoid(base + stage @ solved)
    rest = ridge(views.landmarks, filled - p, recipe.rest_penalty) / (p * (1 - p)).mean(axis=0)
    return base, by_domain, weights @ by_factor + recipe.rest_share * rest, by_taught


def _best_penalties(x: Floats, y: Floats, penalties: Sequence[float]) -> tuple[Floats, Floats]:
    """For each column the weights and left-out predictions of the penalty that predicts it best."""
    tried = [ridge_left_out(x, y, penalty) for penalty in penalties]
    errors = np.stack([((y - left_out) ** 2).sum(axis=0) for _, left_out in tried])
    best = errors.argmin(axis=0)
    columns = range(y.shape[1])
    weights = np.stack([tried[best[column]][0][:, column] for column in columns], axis=1)
    return weights, np.stack([tried[best[column]][1][:, column] for column in columns], axis=1)


def _tokens(tokens_out: Floats, views: _Views, recipe: Recipe) -> tuple[Floats, Floats, Floats]:
    """Each model's length by domain; beyond that, one factor for all models, by how much a text asks for more than usual.

    A factor of its own for each model would be noise that turns choices between models of about the same cost.
    """
    known = ~np.isnan(tokens_out)
    base = np.where(known, tokens_out, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    by_domain = ridge(views.domain, np.where(known, tokens_out - base, 0.0), recipe.table_penalty)
    excess = np.where(known, tokens_out - base - views.domain @ by_domain, 0.0) / np.maximum(base, 1.0)
    bounded = np.clip(excess, -1.0, recipe.most_excess).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return base, by_domain, ridge(views.landmarks, bounded[:, None], recipe.tokens_penalty) * base


def _two_stages(moved: Floats, views: _Views, recipe: Recipe) -> tuple[Floats, Floats]:
    """Weights by domain, and by feature for what the domains leave."""
    by_domain = ridge(views.domain, moved, recipe.table_penalty)
    return by_domain, ridge(views.landmarks, moved - views.domain @ by_domain, recipe.tokens_penalty)


def _hardness(outcomes: Floats) -> Floats:
    """How many fewer models than usual were right, in standard deviations of the part's questions."""
    share: Floats = fill(outcomes).mean(axis=1)
    hardness: Floats = (share.mean() - share) / (share.std() + 1e-9)
    return hardness
