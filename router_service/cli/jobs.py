"""explain: why a job went where it went, from what was stored when it was decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from router_service.cli import output
from router_service.cli.client import Json
from router_service.cli.session import JsonFlag, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = ("language", "task", "domain", "difficulty", "tokens_out", "flags", "modalities")


def explain(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", show_default=False, help="job_...")],
    json: JsonFlag = False,
) -> None:
    """A job's decisions with every candidate, its attempts, and its dead letters."""
    with connect(context) as client:
        told = client.explain(job)
    if json:
        output.print_json(told)
        return
    console = output.out_console()
    console.print(f"{told['id']}: {output.safe_line(told['status'])}")
    for decision in told["decisions"]:
        console.print()
        _print_decision(decision)
    if told.get("outlook"):
        _print_outlook(told["outlook"])
    print_attempts(told["attempts"])
    _print_dead_letters(told["dead_letters"])


def _print_decision(decision: Json) -> None:
    _print_candidates(decision, head=f"Decision {decision['epoch']}, {stamp(decision['decided_at'])}")
    for line in (_seen_in(decision.get("inputs") or {}), *known_lines(decision.get("known")), _margin(decision)):
        if line:
            output.tell(line)


def _seen_in(inputs: Json) -> str | None:
    """What was seen in the request, and what the caller asked for, in one line."""
    spec, signals = inputs.get("spec") or {}, inputs.get("signals") or {}
    said = {name: spec[name] for name in ("residency", "quality", "features") if spec.get(name)}
    said |= {name: signals[name] for name in SIGNALS if signals.get(name)} | (inputs.get("preferences") or {})
    words = [f"{name} {_plain(value)}" for name, value in said.items()]
    return output.safe_line(f"seen: {', '.join(words)}") if words else None


def known_lines(
    known: Json | None, *, unread: str = "nothing in force asks for what the request says"
) -> Iterator[str]:
    """What was not known of the job, and what became of the rules of its policy that may have been for it."""
    if known is None:
        return
    if not known["is_read"]:
        yield f"not read: {unread}"
    elif known["unknown"]:
        yield f"not known: {', '.join(known['unknown'])}"
    for rule in known["rules"]:
        fate = "applied" if rule["applied"] else f"not applied: {' and '.join(rule['unknown'])} unknown"
        yield output.safe_line(f"rule {rule['number']} ({rule['name']}) {fate}")


def _margin(decision: Json) -> str | None:
    """How far the next best was behind the winner, where both are of the same rank and place, so that scores decided."""
    chosen = next((each for each in decision["candidates"] if each["model"] == decision["model"]), None)
    if chosen is None or chosen.get("score") is None:
        return None
    others = [
        each
        for each in decision["candidates"]
        if each["eligible"] and each["model"] != chosen["model"] and _standing(each) == _standing(chosen)
    ]
    if not others:
        return None
    second = min(others, key=lambda each: each["score"])
    return f"margin: {second['score'] - chosen['score']:.3g} over {output.safe_line(second['model'])}"


def _standing(candidate: Json) -> tuple[int, int]:
    return candidate["rank"], candidate.get("place", 0)


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _print_outlook(outlook: Json) -> None:
    """For what a queued job waits: a model that is busy (its wait), or one that may take it at all."""
    output.out_console().print()
    _print_candidates(outlook, head="It waits. Decided now")
    for line in known_lines(outlook.get("known"), unread="the router has not looked at it yet, or needs not"):
        output.tell(line)
    for change in outlook.get("changes") or ():
        needed = " and ".join(
            f"{each['reason']}" + ("" if each["bound"] is None else f" {output.as_json(each['bound'])}")
            for each in change["change"]
        )
        output.tell(output.safe_line(f"{change['model']} could do it but for: {needed}"))


def _print_candidates(decision: Json, *, head: str) -> None:
    output.print_table(
        ("", "candidate", "#cost", "#wait s", "#call s", "#quality", "#score", "why not"),
        [_candidate_row(candidate, chosen=decision["model"]) for candidate in decision["candidates"]],
        title=output.safe_line(
            f"{head}: {decision['model'] or 'no model'}, {decision['reason']}  "
            f"(policy {short(decision['policy'])}, catalog {short(decision['catalog'])})"
        ),
    )


def _candidate_row(candidate: Json, *, chosen: str | None) -> tuple[object, ...]:
    """A model that was refused has a reason and no numbers, or only those that were known by then."""
    refused = ""
    if not candidate["eligible"]:
        bound = candidate.get("bound")
        refused = f"{candidate['reason']}" + ("" if bound is None else f" (bound: {output.as_json(bound)})")
    return (
        "→" if candidate["model"] == chosen else " ",
        candidate["model"],
        output.usd(candidate.get("cost_usd")),
        _number(candidate.get("wait_s")),
        _number(candidate.get("latency_s")),
        _number(candidate.get("quality")),
        _number(candidate.get("score")),
        refused,
    )


def print_attempts(attempts: list[Json]) -> None:
    """Calls to providers, one a line."""
    if not attempts:
        return
    output.out_console().print()
    output.print_table(
        ("#attempt", "model", "started", "#took s", "outcome", "#status", "error", "#in", "#out", "#cost"),
        [_attempt_row(attempt) for attempt in attempts],
        title="Attempts",
    )


def _attempt_row(attempt: Json) -> tuple[object, ...]:
    return (
        attempt["attempt"],
        attempt["model"],
        stamp(attempt["started_at"]),
        _took(attempt),
        attempt["outcome"],
        attempt["status_code"],
        output.safe_line(
            ": ".join(part for part in (attempt["error_code"], attempt["error_message"]) if part), width=60
        ),
        attempt["input_tokens"],
        attempt["output_tokens"],
        output.usd(attempt["cost_usd"]),
    )


def _print_dead_letters(letters: list[Json]) -> None:
    if not letters:
        return
    output.out_console().print()
    output.print_table(
        ("dead letter", "model", "#attempt", "state", "error", "created"),
        [
            (
                letter["id"],
                letter["model"],
                letter["attempt"],
                letter["state"],
                output.safe_line(f"{letter['error_code']}: {letter['error_message']}", width=60),
                stamp(letter["created_at"]),
            )
            for letter in letters
        ],
        title="Dead letters",
    )


def stamp(moment: object) -> str:
    """A time as the service gives it: unix seconds, or text."""
    return output.clock(moment) if isinstance(moment, int | float) else output.safe_line(moment or "-")


def short(fingerprint: object) -> str:
    """Enough of a hash to tell two apart."""
    return str(fingerprint)[:12]


def _took(attempt: Json) -> str | None:
    start, end = attempt["started_at"], attempt["ended_at"]
    if isinstance(start, int | float) and isinstance(end, int | float):
        return f"{end - start:.2f}"
    return None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}"
