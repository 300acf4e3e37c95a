"""Reads benchmark folders and price lists: `questions.jsonl.gz`, `outcomes.csv.gz`, USD per million tokens."""

from __future__ import annotations

import csv
import gzip
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.chat.tokens import estimate_tokens
from router_service.errors import InvalidRequestError
from router_service.prediction.examples import Examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

QUESTIONS, OUTCOMES = "questions.jsonl.gz", "outcomes.csv.gz"
LABEL = '{"text": "...", "outcomes": {"small": 1, "big": 0.5}}'
LINE = " line"  # a column that no file has
CORRECT, OUTPUT_TOKENS = "|correct", "|output_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Questions in order, their texts as a model gets them, and what models answered where that is known.

    `examples.domains` holds each category or task, `tokens_in` [questions] the length of each prompt. `examples.models` is empty
    where the folder has no outcomes.
    """

    ids: tuple[str, ...]
    tokens_in: NDArray[np.float64]
    examples: Examples

    def rows(self, chosen: NDArray[np.intp]) -> Benchmark:
        """The questions at these places."""
        return Benchmark(
            ids=tuple(self.ids[row] for row in chosen),
            tokens_in=self.tokens_in[chosen],
            examples=self.examples.rows(chosen),
        )


def read_folder(folder: Path) -> Benchmark:
    """InvalidRequestError: a file is missing or wrong; the message says which line."""
    numbered = list(_json_lines(folder / QUESTIONS))
    if not numbered:
        raise InvalidRequestError(f"{folder / QUESTIONS}: no question in it")
    ids = tuple(_field(question, "question_id", folder / QUESTIONS, line) for line, question in numbered)
    questions = [question for _line, question in numbered]
    texts = tuple(question_text(question) for question in questions)
    models, outcomes, tokens = _outcomes(folder / OUTCOMES, ids)
    return Benchmark(
        ids=ids,
        tokens_in=np.array(
            [
                float(question.get("prompt_tokens_cl100k") or estimate_tokens(text))
                for question, text in zip(questions, texts, strict=True)
            ]
        ),
        examples=Examples(
            source=_name(folder),
            texts=texts,
            domains=tuple(question.get("category") or question.get("task") for question in questions),
            models=models,
            outcomes=outcomes,
            tokens_out=tokens,
        ),
    )


def question_text(question: Mapping[str, Any]) -> str:
    """The question and its lettered options: all that a router may see."""
    options = question.get("options") or []
    return "\n".join(
        [str(question.get("question", "")), *(f"{chr(65 + at)}. {option}" for at, option in enumerate(options))]
    )


def read_any(path: Path) -> Examples:
    """The labelled examples of a benchmark folder or of a JSON Lines file. InvalidRequestError: a folder without outcomes."""
    if not path.is_dir():
        return read_labels(path)
    examples = read_folder(path).examples
    if not examples.models:
        raise InvalidRequestError(f"{path}: no {OUTCOMES} to learn from")
    return examples


def read_labels(path: Path) -> Examples:
    """A team's own labels: one JSON object a line, {"text", "domain"?, "outcomes": {model: 0..1}, "tokens_out"?: {model: n}}.

    The names `question` and `scores` of LLMRouter's files are understood as `text` and `outcomes`. InvalidRequestError: the file,
    or a line of it, is wrong; the message has the path and the line.
    """
    lines = [
        (number, {"text": line.get("question"), "outcomes": line.get("scores"), **line})
        for number, line in _json_lines(path)
    ]
    texts = tuple(_field(line, "text", path, number) for number, line in lines)
    told = [_numbers(line, "outcomes", path, number, most=1.0) for number, line in lines]
    lengths = [_numbers(line, "tokens_out", path, number) for number, line in lines]
    models = tuple(sorted({model for each in told for model in each}))
    if not models:
        raise InvalidRequestError(f"{path}: no outcomes; a line such as {LABEL} would be right")
    return Examples(
        source=_name(path),
        texts=texts,
        domains=tuple(line.get("domain") for _number, line in lines),
        models=models,
        outcomes=_matrix(told, models),
        tokens_out=_matrix(lengths, models),
    )


def read_prices(path: Path, *, models: Sequence[str], pool: str | None = None) -> dict[str, tuple[float, float]]:
    """{model: (in, out)} in USD per million tokens, of the pool named or of the only one whose models are all in `models`."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(document, dict) or not document:
        raise InvalidRequestError(f'{path}: expected {{model: {{"in": USD, "out": USD}}}} or such pools by name')
    flat = all(isinstance(value, dict) and "in" in value for value in document.values())
    pools = {"": document} if flat else document
    if pool is not None:
        if flat or pool not in pools:
            raise InvalidRequestError(
                f"{path}: no pool {pool!r}; it has {', '.join(map(repr, pools)) if not flat else 'no pools'}"
            )
        pools = {pool: pools[pool]}
    fitting = {name: prices for name, prices in pools.items() if set(prices) <= set(models)}
    if len(fitting) != 1:
        raise InvalidRequestError(_no_pool(path, pools, set(models), len(fitting)))
    return {model: _price(path, model, price) for model, price in next(iter(fitting.values())).items()}


def _no_pool(path: Path, pools: Mapping[str, Any], models: set[str], fitting: int) -> str:
    if fitting:
        return f"{path}: {fitting} pools have only models of the training outcomes; choose one with --pool"
    missing = "; ".join(
        f"{name or 'it'} lacks {', '.join(sorted(set(prices) - models)[:3])}" for name, prices in pools.items()
    )
    return f"{path}: no pool has all its models in the training outcomes: {missing}"


def _price(path: Path, model: str, price: Any) -> tuple[float, float]:
    try:
        return float(price["in"]), float(price["out"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequestError(f'{path}: {model}: expected {{"in": USD, "out": USD}}') from error


def _name(path: Path) -> str:
    """A source's name without where it lies on this machine."""
    return f"{path.parent.name}/{path.name}"


def _outcomes(path: Path, ids: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float64]]:
    if not path.exists():
        nothing = np.empty((len(ids), 0))
        return (), nothing, nothing
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = [row | {LINE: str(reader.line_num)} for row in reader]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{path}: cannot be read: {error}") from error
    names = list(rows[0]) if rows else []
    models = tuple(name.removesuffix(CORRECT) for name in names if name.endswith(CORRECT))
    if not models or "question_id" not in names:
        raise InvalidRequestError(f"{path}: expected columns question_id and MODEL{CORRECT}")
    by_id = {row["question_id"]: row for row in rows}
    chosen = [by_id.get(each, {}) for each in ids]
    right, lengths = (
        [[_cell(row, model + kind, path, most=most) for model in models] for row in chosen]
        for kind, most in ((CORRECT, 1.0), (OUTPUT_TOKENS, np.inf))
    )
    return models, np.array(right), np.array(lengths)


def _cell(row: Mapping[str, str], column: str, path: Path, *, most: float) -> float:
    text = row.get(column)
    if not text:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value <= most:
        raise InvalidRequestError(f"{path}:{row[LINE]}: {column} is {text[:40]!r}, not a number from 0{_up_to(most)}")
    return value


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with the number of its line."""
    try:
        yield from _parsed(path)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path}: cannot be read: {error}") from error


def _parsed(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise InvalidRequestError(
            f"{path}: there is no such file; name a folder that holds {QUESTIONS}, or a JSON Lines file"
        )
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                document = json.loads(line)
            except ValueError as error:
                raise InvalidRequestError(f"{path}:{number}: not JSON: {str(error).partition(': line')[0]}") from error
            if not isinstance(document, dict):
                raise InvalidRequestError(f"{path}:{number}: expected a JSON object")
            yield number, document


def _field(line: Mapping[str, Any], name: str, path: Path, number: int) -> str:
    if line.get(name) is None:
        raise InvalidRequestError(f"{path}:{number}: has no {name!r}")
    return str(line[name])


def _numbers(line: Mapping[str, Any], name: str, path: Path, number: int, *, most: float = np.inf) -> dict[str, float]:
    value = line.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(each, int | float) for each in value.values()):
        raise InvalidRequestError(f"{path}:{number}: {name!r} must be an object of numbers by model id")
    for model, each in value.items():
        if not (0 <= each <= most and each < math.inf):
            raise InvalidRequestError(f"{path}:{number}: {name}.{model} is {each}, not a number from 0{_up_to(most)}")
    return {model: float(each) for model, each in value.items()}


def _up_to(most: float) -> str:
    return " on" if np.isinf(most) else f" to {most:g}"


def _matrix(rows: Sequence[Mapping[str, float]], models: Sequence[str]) -> NDArray[np.float64]:
    return np.array([[row.get(model, np.nan) for model in models] for row in rows]).reshape(len(rows), len(models))
