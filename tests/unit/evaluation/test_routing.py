from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from router_service.cli.main import app
from router_service.errors import InvalidRequestError
from router_service.evaluation import robustness, routing
from router_service.evaluation.benchmark_files import question_text, read_any, read_folder, read_prices
from router_service.evaluation.frontier_plot import svg
from router_service.evaluation.routing import Actual, Expected
from tests.unit.prediction.conftest import MODELS, world

if TYPE_CHECKING:
    from pathlib import Path

PRICES: dict[str, dict[str, float]] = {
    "lawyer": {"in": 0.1, "out": 0.2},
    "physicist": {"in": 0.1, "out": 0.2},
    "giant": {"in": 2, "out": 8},
}


def _write(folder: Path, *, count: int, seed: int, outcomes: bool = True, **extra: Any) -> Path:
    """A benchmark folder of the small world; ids are numbers on even lines and words on odd ones."""
    folder.mkdir()
    made = world(count, seed=seed)
    ids: list[int | str] = [at if at % 2 == 0 else f"q#{at}" for at in range(count)]
    with gzip.open(folder / "questions.jsonl.gz", "wt") as file:
        for each, text, domain in zip(ids, made.texts, made.domains, strict=True):
            file.write(json.dumps({"question_id": each, "question": text, "category": domain, **extra}) + "\n")
    if outcomes:
        with gzip.open(folder / "outcomes.csv.gz", "wt", newline="") as file:
            writer = csv.writer(file)
            kinds = ("correct", "output_tokens")
            writer.writerow(["question_id", *(f"{model}|{kind}" for kind in kinds for model in MODELS)])
            for at in reversed(range(count)):
                right = ["" if at == 3 else int(value) for value in made.outcomes[at]]
                writer.writerow([ids[at], *right, *made.tokens_out[at].astype(int)])
    return folder


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"small": PRICES, "other": {"unheard of": {"in": 1, "out": 1}}}))
    return path


def _run(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_routing_saves_over_random_mixing_where_models_have_subjects(tmp_path: Path, prices: Path) -> None:
    train, test = _write(tmp_path / "train", count=400, seed=1), _write(tmp_path / "test", count=300, seed=2)
    choices, plot = tmp_path / "choices.csv", tmp_path / "plot.svg"
    report = _run("routing", "--train", train, "--test", test, "--prices", prices, "--choices", choices, "--plot", plot)
    assert report["questions"] == 299
    assert report["router"]["router_aiq"] > report["zero"]["zero_aiq"]
    assert report["intervals"]["more_aiq"][0] < report["more"]["more_aiq"] < report["intervals"]["more_aiq"][1]
    assert report["ece"] < 0.1
    assert [each["target"] for each in report["targets"]] == [0.9, 0.95, 0.98, 1.0]
    rows = list(csv.DictReader(choices.read_text().splitlines()))
    assert {row["lambda"] for row in rows} >= {"0", "inf"}
    assert {row["question_id"] for row in rows if row["lambda"] == "inf"} >= {"0", "q#1"}
    assert {row["model"] for row in rows if row["lambda"] == "inf"} <= {"lawyer", "physicist"}
    ET.parse(plot)


def test_a_test_folder_without_outcomes_is_only_routed(tmp_path: Path, prices: Path) -> None:
    train = _write(tmp_path / "train", count=200, seed=1)
    test = _write(tmp_path / "test", count=30, seed=2, outcomes=False)
    choices = tmp_path / "choices.csv"
    report = _run("routing", "--train", train, "--test", test, "--prices", prices, "--choices", choices)
    assert report == {"models": 3, "trained_on": 200, "routed": 30}
    assert len(choices.read_text().splitlines()) == 1 + 30 * (routing.SETTINGS + 2)


def test_choices_depend_on_nothing_but_the_text(tmp_path: Path, prices: Path) -> None:
    train = _write(tmp_path / "train", count=200, seed=1)
    plain = _write(tmp_path / "plain", count=40, seed=2)
    told = _write(tmp_path / "told", count=40, seed=2, answer="B", src="secret", outcomes=False)
    written = []
    for test in (plain, told):
        choices = tmp_path / f"{test.name}.csv"
        _run("routing", "--train", train, "--test", test, "--prices", prices, "--choices", choices)
        written.append(choices.read_text())
    assert written[0] == written[1]


def test_each_category_can_be_left_out(tmp_path: Path, prices: Path) -> None:
    train = _write(tmp_path / "train", count=240, seed=1)
    report = _run("routing", "--train", train, "--prices", prices, "--leave-one-out", "category")
    assert {each["category"] for each in report["categories"]} == {"law", "physics", "music"}
    assert sum(each["questions"] for each in report["categories"]) == 239


def test_rewording_is_measured_over_all_lambdas(tmp_path: Path) -> None:
    train, test = (read_folder(_write(tmp_path / str(seed), count=150, seed=seed)) for seed in (1, 2))
    pool = {model: (float(each["in"]), float(each["out"])) for model, each in PRICES.items()}
    ways: dict[str, Any] = {each["way"]: each for each in robustness.measure([train], test, pool)["ways"]}
    assert ways["casing"]["least"] == 1.0
    assert all(0 <= each["least"] <= each["mean"] <= 1 for each in ways.values())


def test_two_models_are_told_apart_by_subject(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    made = world(600, seed=4)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("domain", "prompt", "lawyer_correct", "giant_correct"))
        for at, text in enumerate(made.texts):
            writer.writerow((made.domains[at], f"{at} {text}", bool(made.outcomes[at, 0]), made.outcomes[at, 2]))
    dropped = tmp_path / "contaminated.jsonl"
    dropped.write_text(json.dumps({"eval_prompt": f"7 {made.texts[7]}", "eval_idx": 7}) + "\n")
    report = _run("routellm", path, "--labels", 300, "--contaminated", dropped)
    assert report["strong"] == "giant"
    assert report["tested"] == 299
    assert report["text"]["apgr"] > 0.55
    assert report["subject_given"]["apgr"] > 0.55
    assert report["text"]["oracle_apgr"] > report["text"]["apgr"]


def test_a_close_model_does_not_take_over_a_question() -> None:
    expected = Expected(
        p=np.array([[0.70, 0.705], [0.70, 0.75]]),
        cost_usd=np.full((2, 2), 0.001),
        usual_p=np.array([0.7, 0.6]),
        usual_cost_usd=np.array([0.001, 0.001]),
    )
    assert routing.choose(expected, 0.0).tolist() == [0, 1]
    assert routing.choose(expected, float("inf")).tolist() == [0, 0]


def test_an_interval_that_reaches_beyond_what_is_ever_reached_has_no_end_there() -> None:
    expected = Expected(
        p=np.tile([0.9, 0.1], (50, 1)),
        cost_usd=np.tile([0.001, 0.01], (50, 1)),
        usual_p=np.array([0.9, 0.1]),
        usual_cost_usd=np.array([0.001, 0.01]),
    )
    right = np.random.default_rng(0).random((50, 2)) < [0.5, 0.55]
    report = routing.measure(expected, Actual(outcomes=right.astype(float), cost_usd=expected.cost_usd), ["a", "b"])
    assert report["intervals"]["more_saved_100%"][0] is None


def test_a_dearer_model_is_left_as_lambda_grows() -> None:
    random = np.random.default_rng(0)
    expected = Expected(
        p=random.random((200, 3)),
        cost_usd=np.array([1e-5, 1e-4, 1e-3]) * random.uniform(0.8, 1.2, (200, 3)),
        usual_p=np.full(3, 0.5),
        usual_cost_usd=np.array([1e-5, 1e-4, 1e-3]),
    )
    rows = np.arange(200)
    spent = [expected.cost_usd[rows, routing.choose(expected, each)].mean() for each in routing.lambdas(expected)]
    assert spent[0] > 3 * spent[-1]
    assert spent[-1] == min(spent)


def test_settings_are_spread_over_the_prices_of_those_that_cost_something() -> None:
    cost_usd = np.array([[0.0, 0.01, 0.1]] * 4)
    p = np.array([[0.3, 0.5, 0.9]] * 4)
    expected = routing.Expected(p=p, cost_usd=cost_usd, usual_p=p[0], usual_cost_usd=cost_usd[0])
    settings = routing.lambdas(expected)
    assert len(settings) == routing.SETTINGS + 2
    assert np.isfinite(settings[:-1]).all()
    assert {int(routing.choose(expected, each)[0]) for each in settings} == {0, 1, 2}
    free = routing.Expected(p=p, cost_usd=cost_usd * 0, usual_p=p[0], usual_cost_usd=cost_usd[0] * 0)
    assert routing.lambdas(free).tolist() == [0.0, np.inf]


def test_options_are_part_of_the_text_and_answers_are_not() -> None:
    question = {"question": "Which?", "options": ["this", "that"], "answer": "B", "category": "law"}
    assert question_text(question) == "Which?\nA. this\nB. that"


def test_prices_choose_the_pool_that_fits_or_say_why_not(tmp_path: Path, prices: Path) -> None:
    assert list(read_prices(prices, models=[*MODELS, "more"])) == list(PRICES)
    with pytest.raises(InvalidRequestError, match="no pool has all its models"):
        read_prices(prices, models=["lawyer"])
    with pytest.raises(InvalidRequestError, match="choose one with --pool"):
        read_prices(prices, models=[*MODELS, "unheard of"])
    with pytest.raises(InvalidRequestError, match="no pool 'large'"):
        read_prices(prices, models=MODELS, pool="large")
    flat = tmp_path / "flat.json"
    flat.write_text(json.dumps(PRICES))
    assert read_prices(flat, models=MODELS)["giant"] == (2.0, 8.0)


def test_models_whose_reasoning_is_hidden_are_in_no_pool(tmp_path: Path) -> None:
    benchmark = read_folder(_write(tmp_path / "train", count=30, seed=1))
    prices = {**dict.fromkeys(MODELS, (1.0, 1.0)), "o1-preview": (15.0, 60.0)}
    assert list(routing.pool([benchmark], prices)) == list(MODELS)
    assert list(routing.pool([benchmark], prices, without=["giant"])) == ["lawyer", "physicist"]
    with pytest.raises(InvalidRequestError, match="at least two"):
        routing.pool([benchmark], prices, only=["giant"])
    with pytest.raises(InvalidRequestError, match="no price for gaint"):
        routing.pool([benchmark], prices, without=["gaint"])


def test_a_wrong_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"text": "a", "outcomes": {"m": 1}}\n{"text": "b", "outcomes": [1]}\n')
    with pytest.raises(InvalidRequestError, match=r"labels\.jsonl:2: 'outcomes'"):
        read_any(path)
    path.write_text('{"outcomes": {"m": 1}}\n')
    with pytest.raises(InvalidRequestError, match=r"labels\.jsonl:1: has no 'text'"):
        read_any(path)


def test_own_labels_train_a_predictor(tmp_path: Path) -> None:
    made, path, out = world(120, seed=9), tmp_path / "labels.jsonl", tmp_path / "own.npz"
    lines = [
        {"text": text, "domain": domain, "outcomes": dict(zip(MODELS, row, strict=True)), "tokens_out": {"giant": 90}}
        for text, domain, row in zip(made.texts, made.domains, made.outcomes.tolist(), strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = CliRunner().invoke(app, ["train", "--data", str(path), "--out", str(out), "--landmarks", "40", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["models"], report["domains"], report["texts"]) == (3, 3, 120)
    assert out.stat().st_size == report["bytes"]
    general = CliRunner().invoke(app, ["train", "--data", str(path), "--out", str(out), "--general", "--json"])
    assert json.loads(general.stdout)["models"] == 0


@pytest.mark.parametrize("costs", [(0.0, 0.001, 0.02), (0.0, 0.0, 0.0)])
def test_a_plot_has_free_models_at_its_left_edge(costs: tuple[float, ...]) -> None:
    singles = [{"model": f"m{at}", "cost_usd": cost, "quality": 0.5 + 0.1 * at} for at, cost in enumerate(costs)]
    curve = [{"lambda": 0.0, "cost_usd": costs[-1], "quality": 0.7}, {"lambda": 1.0, "cost_usd": 0.0, "quality": 0.5}]
    root = ET.fromstring(svg({"singles": singles, "curve": curve}))
    across = [float(element.attrib["cx"]) for element in root.iter() if element.tag.endswith("circle")]
    assert across == sorted(across)
    assert [at for at, cost in zip(across, costs, strict=True) if not cost] == [56.0] * costs.count(0.0)


def test_a_plot_has_two_curves_and_a_point_for_each_model() -> None:
    singles = [{"model": f"m{at} <b>", "cost_usd": 0.001 * (at + 1), "quality": 0.5 + 0.1 * at} for at in range(3)]
    curve = [{"lambda": 0.0, "cost_usd": 0.002, "quality": 0.7}, {"lambda": 1.0, "cost_usd": 0.001, "quality": 0.55}]
    root = ET.fromstring(svg({"singles": singles, "curve": curve}))
    kinds = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert kinds.count("polyline") == 2
    assert kinds.count("circle") == 3
