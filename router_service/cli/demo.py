"""demo: the whole service on this machine, on real documents, with a model that always fails among the good ones.

The documents are the long descriptions of the installed packages. Every fourth is sent to `flaky`, whose calls all
fail: its jobs go through the queue `dlq.flaky` to the fallback that the catalog names.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from router_service.cli import output
from router_service.cli.client import ApiClient
from router_service.cli.exits import ExitCode, OperationFailedError
from router_service.cli.progress import follow
from router_service.cli.session import stored_key
from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from subprocess import Popen
    from types import FrameType

    from router_service.cli.summaries import Summary
    from router_service.embedded.state import StackState

FLAKY = "flaky"
ASKED_FOR = ("auto", "local-frequency", "local-lexrank", FLAKY)
MAX_WORDS = 60
START_S = 90.0
STOP_S = 45.0
CATALOG = """\
# Three local tiers that need no key and no network, and a model whose calls all fail.
model_list:
  - model_name: local-lead
    litellm_params: {model: local/lead, max_parallel_requests: 4}
    model_info:
      id: local-lead
      input_cost_per_token: 0.00000001
      output_cost_per_token: 0.00000002
      max_input_tokens: 16384
      max_output_tokens: 1024
      router: {quality: {default: 0.5}}
  - model_name: local-frequency
    litellm_params: {model: local/frequency, max_parallel_requests: 4}
    model_info:
      id: local-frequency
      input_cost_per_token: 0.00000002
      output_cost_per_token: 0.00000004
      max_input_tokens: 16384
      max_output_tokens: 1024
      router: {quality: {default: 0.6}}
  - model_name: local-lexrank
    litellm_params: {model: local/lexrank, max_parallel_requests: 4}
    model_info:
      id: local-lexrank
      input_cost_per_token: 0.00000004
      output_cost_per_token: 0.00000008
      max_input_tokens: 16384
      max_output_tokens: 1024
      router: {quality: {default: 0.7}}
  # The dearest, so that `auto` leaves it alone: only what asks for it by name fails here.
  - model_name: flaky
    litellm_params: {model: simulated/flaky}
    model_info:
      id: flaky
      input_cost_per_token: 0.001
      output_cost_per_token: 0.001
      max_input_tokens: 16384
      router: {simulated: {failure_rate: 1.0, latency_ms: 20}}
router_settings:
  num_retries: 1
  fallbacks:
    - flaky: [local-lexrank]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one document took, over all of its parts."""

    attempts: int = 0
    cost_usd: float = 0.0

    def plus(self, *, attempts: int, cost_usd: float) -> Tally:
        return Tally(attempts=self.attempts + attempts, cost_usd=self.cost_usd + cost_usd)


def command(
    folder: Annotated[Path, typer.Option("--dir", help="Where the demo keeps its servers and its results.")] = Path(
        ".demo"
    ),
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many documents.")] = None,
) -> None:
    """Summarize the descriptions of all installed packages, offline, through the real stack."""
    signal.signal(signal.SIGTERM, _terminate)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    catalog = folder / "catalog.yaml"
    catalog.write_text(CATALOG)
    output.say(f"starting Postgres, Redis, the API and the workers in {folder} ...")
    with running_stack(folder, catalog=catalog) as state:
        key = stored_key(folder, url=state.api_url)
        with ApiClient(state.api_url, key=key) as client:
            complete = _summarize_packages(client, folder, limit=limit)
        _tell_flower(state, folder, catalog=catalog)
    if not complete:
        raise typer.Exit(ExitCode.FAILED)


@contextmanager
def running_stack(folder: Path, *, catalog: Path) -> Iterator[StackState]:
    """`waybill up` as a child on a free port, ready; stopped by SIGTERM however the block ends."""
    from router_service.embedded import ports, process  # noqa: PLC0415 only where a stack is started

    log = folder / "up.log"
    since = log.stat().st_size if log.exists() else 0
    child = process.spawn(
        [
            sys.executable, "-m", "router_service.cli.main", "--data-dir", str(folder),
            "up", "--config", str(catalog), "--port", str(ports.choose()),
        ],
        log=log,
        env=_clean_environment(os.environ),
    )  # fmt: skip
    try:
        yield _when_ready(child, folder, log=log, since=since)
    finally:
        process.stop(child, (signal.SIGTERM, STOP_S))


def _when_ready(child: Popen[bytes], folder: Path, *, log: Path, since: int) -> StackState:
    from router_service.embedded import process, state  # noqa: PLC0415 only where a stack is started

    def answers() -> bool:
        if process.exited(child):
            return True
        found = state.load_state(folder)
        return found is not None and found.pid == child.pid and _is_ready(found.api_url)

    answered = process.wait_until(answers, patience_s=START_S)
    found = state.load_state(folder)
    if answered and found is not None and not process.exited(child):
        return found
    why = "ended" if process.exited(child) else f"was not ready within {START_S:.0f} s"
    raise OperationFailedError(f"`waybill up` {why}; the end of {log}:\n{process.tail(log, since_byte=since)}")


def _is_ready(api_url: str) -> bool:
    try:
        with ApiClient(api_url, key=None) as client:
            return client.probe("/readyz")[0] == 200
    except UnavailableError:
        return False


def _summarize_packages(client: ApiClient, folder: Path, *, limit: int | None) -> bool:
    """Run the documents, print what became of them, and say whether each has a summary."""
    from itertools import islice  # noqa: PLC0415

    from router_service.cli.documents import installed_packages  # noqa: PLC0415 the parsers are slow to load
    from router_service.cli.summaries import Order, summarize, window_tokens  # noqa: PLC0415 as above
    from router_service.cli.summarize import write_summaries  # noqa: PLC0415 as above

    batches: list[str] = []

    def watch(batch_id: str) -> None:
        batches.append(batch_id)
        follow(client, batch_id)

    summaries = summarize(
        islice(installed_packages(), limit),
        client=client,
        order=Order(
            model_of=lambda index: ASKED_FOR[index % len(ASKED_FOR)],
            max_words=MAX_WORDS,
            window_tokens=window_tokens(client.models(), model="auto"),
        ),
        follow=watch,
    )
    results = folder / "summaries.jsonl"
    with output.output_file(results) as file:
        write_summaries(file, summaries)
    return _report(client, summaries, batches=batches, results=results)


def _report(client: ApiClient, summaries: Sequence[Summary], *, batches: Sequence[str], results: Path) -> bool:
    # A list leaves the results out, and the cost stands in the result.
    jobs = [client.job(job["id"]) for batch_id in batches for job in client.jobs(batch_id=batch_id)]
    letters = [letter for batch_id in batches for letter in client.dead_letters({"model": FLAKY, "batch_id": batch_id})]
    tallies = tally(jobs)
    output.print_table(
        ("document", "model", "#attempts", "#cost", "summary"),
        [_row(number, summary, tallies) for number, summary in enumerate(summaries)],
    )
    succeeded = sum(job["status"] == "succeeded" for job in jobs)
    moved = len({letter["job_id"] for letter in letters})
    written = sum(summary.summary is not None for summary in summaries)
    sys.stdout.write(
        f"\n{written} of {len(summaries)} documents have a summary: {succeeded} of {len(jobs)} jobs succeeded, "
        f"{moved} of them after a failure, by way of the queue dlq.{FLAKY}.\nThe full results are in {results}\n"
    )
    for summary in summaries:
        if summary.summary is None:
            output.say(f"{summary.title}: no summary: {summary.error}")
    return bool(summaries) and written == len(summaries)


def tally(jobs: Sequence[Mapping[str, object]]) -> Mapping[int, Tally]:
    """Attempts and cost by document: the number in a custom id is the document's."""
    tallies: dict[int, Tally] = defaultdict(Tally)
    for job in jobs:
        number = int(str(job["custom_id"])[1:7])
        result = job["result"] if isinstance(job["result"], dict) else {}
        tallies[number] = tallies[number].plus(
            attempts=int(str(job["attempts"])), cost_usd=float(result.get("cost_usd") or 0.0)
        )
    return tallies


def _row(number: int, summary: Summary, tallies: Mapping[int, Tally]) -> tuple[object, ...]:
    taken = tallies.get(number, Tally())
    return (
        output.safe_line(summary.title, width=26),
        summary.model,
        taken.attempts,
        output.usd(taken.cost_usd),
        output.safe_line(summary.summary or "", width=70),
    )


def _tell_flower(state: StackState, folder: Path, *, catalog: Path) -> None:
    """The stack of the demo stops now; Flower needs it to run."""
    if state.flower_url is None:
        return
    sys.stdout.write(
        f"To look at the queues: `.venv/bin/waybill up --data-dir {folder} --config {catalog}`, then open {state.flower_url} "
        f"(Flower);\nits user is waybill, its password is in {folder / 'flower-password'}\n"
    )


def _clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The demo touches no real service: settings of the environment stay out of its stack."""
    return {name: value for name, value in environment.items() if not name.startswith("WAYBILL_")}


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does, so that the stack is stopped on the way out."""
    raise KeyboardInterrupt
