"""Jobs, limiter and time under random histories on real servers: every worker's step may be the last before it falls silent.

The reference is what three witnesses would know: the client (what was accepted, and each end that it saw), the provider
(which calls it has under way, and when they began), and each worker (what it claimed, and how that ended by its lights).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from router_service.capacity.limiter import Ended, Hindrance
from router_service.jobs.states import TERMINAL, JobState
from router_service.store.calls import Fate, Finish
from router_service.tickets import Ticket, encode
from tests.support.capacity import Ledger, units
from tests.support.catalogs import document, entry
from tests.support.jobs_world import TOKENS, Hand, JobsWorld, Known, finish_as
from tests.support.processes import until
from tests.support.steps import new_job

if TYPE_CHECKING:
    from uuid import UUID

    import redis

    from router_service.settings import Settings

LEASE_S = 12.0
RENEW_S = 3.0
DEADLINE_S = 50.0
NEAR_S = 1.0  # nothing is foretold of what is due at this very moment
MODELS = ("alpha", "beta")
CATALOG = document(
    entry("alpha", params={"max_parallel_requests": 3, "rpm": 3}),
    entry("beta", cost=2e-6, params={"max_parallel_requests": 2, "tpm": 20_000}),
    num_retries=1,
    fallbacks=[{"alpha": ["beta"]}],
)
SWEEPS = ("mend_counters", "take_over_leases", "reissue_tickets", "queue_due_retries", "resend_dead_letters", "expire")


class JobsMachine(RuleBasedStateMachine):
    world: JobsWorld

    def __init__(self) -> None:
        super().__init__()
        self.world.empty()
        self.jobs: dict[UUID, Known] = {}
        self.tickets: list[Ticket] = []
        self.letters: list[Ticket] = []
        self.hands: list[Hand] = []
        self.ended: list[tuple[Finish, Fate]] = []
        catalog = self.world.runtime.offer.catalog
        self.slots = {name: catalog.by_id[name].limits.slots for name in MODELS}
        self.ledgers = {"alpha": ("rpm", Ledger(3)), "beta": ("tpm", Ledger(20_000))}

    # --- what clients do

    @initialize()
    def work_is_there(self) -> None:
        self.accept(["alpha", "alpha", "beta", "beta", "auto"], has_deadline=False, limit=None)

    @rule(
        models=st.lists(st.sampled_from(["alpha", "beta", "auto"]), min_size=1, max_size=3),
        has_deadline=st.sampled_from([False, False, True]),
        limit=st.sampled_from([TOKENS, None]),
    )
    def accept(self, models: list[str], has_deadline: bool, limit: int | None) -> None:  # noqa: FBT001
        deadline = datetime.now(UTC) + timedelta(seconds=DEADLINE_S) if has_deadline else None
        wanted = [new_job(model=model, deadline=deadline, tokens_in=TOKENS, tokens_out=limit) for model in models]
        self.world.accept(*wanted)
        self.jobs |= {job.id: Known() for job in wanted}

    @precondition(lambda self: self.jobs)
    @rule(which=st.integers(0, 20))
    def cancel(self, which: int) -> None:
        among = [*(hand.claim.id for hand in self.hands), *sorted(self.jobs)]
        job_id = among[which % len(among)]
        was = self.world.row(job_id)["state"]
        assert self.world.cancel(job_id) == (was not in TERMINAL)
        self.jobs[job_id].cancelled |= was not in TERMINAL

    @precondition(lambda self: any(known.end == "failed" for known in self.jobs.values()))
    @rule()
    def replay(self) -> None:
        parked = [row["job_id"] for row in self.world.rows("SELECT job_id FROM dead_letters WHERE state = 'parked'")]
        assert self.world.replay() == len(parked)
        for job_id in parked:
            self.jobs[job_id].end, self.jobs[job_id].tries = None, 0

    # --- what workers do

    @rule()
    def route(self) -> None:
        self.world.run(self.world.workers.route())
        self._collect()

    @rule(most=st.integers(1, 4))
    def serve(self, most: int) -> None:
        """The usual way: what was routed last is claimed, and called where its model has room."""
        self.route()
        for ticket in self.tickets[-most:]:
            hand = self._claim(ticket)
            if hand is not None:
                self._reserve(hand)

    @precondition(lambda self: self.tickets)
    @rule(which=st.integers(0, 100))
    def claim(self, which: int) -> None:
        """Any ticket that there ever was: late, doubled, of another epoch."""
        ticket = self.tickets[which % len(self.tickets)]
        row = self.world.row(ticket.job_id)
        near = row["left_s"] is not None and abs(row["left_s"]) < NEAR_S
        is_good = (
            row["state"] == "routed" and row["epoch"] == ticket.epoch and (row["left_s"] is None or row["left_s"] > 0)
        )
        claimed = self._claim(ticket)
        assert near or (claimed is not None) == is_good

    @precondition(lambda self: self._able(started=False))
    @rule(which=st.integers(0, 20))
    def reserve(self, which: int) -> None:
        """And call, if it may. A worker that cannot be sure of its lease any more does neither."""
        self._reserve(_pick(self._able(started=False), which))

    @precondition(lambda self: self._able(started=True))
    @rule(
        which=st.integers(0, 20),
        end=st.sampled_from(["answered", "answered", "failed", "throttled", "dead", "fatal"]),
        is_settled_first=st.booleans(),
        is_letter_sent=st.booleans(),
    )
    def finish(self, which: int, end: str, is_settled_first: bool, is_letter_sent: bool) -> None:  # noqa: FBT001
        """By whoever was called, however long ago: an end is the job's only where the attempt is still the newest."""
        hand = _pick(self._able(started=True), which)
        if is_settled_first:
            self._settle(hand, used=True)
        finish, fate = self._finish(hand, end)
        if not is_settled_first:
            self._settle(hand, used=True)
        if fate is Fate.MOVED and finish.state is JobState.DEAD and is_letter_sent:
            self.letters.append(Ticket(job_id=hand.claim.id, epoch=hand.claim.epoch))

    @precondition(lambda self: self.ended)
    @rule(which=st.integers(0, 100))
    def finish_again(self, which: int) -> None:
        """The outcome of its COMMIT was not known."""
        finish, fate = self.ended[which % len(self.ended)]
        assert self.world.finish(finish) is (Fate.REPEATED if fate is Fate.MOVED else Fate.STALE)

    @precondition(lambda self: self.hands)
    @rule(which=st.integers(0, 20))
    def give_back(self, which: int) -> None:
        """Nobody was called."""
        self._give_back(_pick(self.hands, which))

    @precondition(lambda self: self.hands)
    @rule(which=st.integers(0, 20), what=st.sampled_from(["freeze", "freeze", "thaw", "crash"]))
    def fall_silent(self, which: int, what: str) -> None:
        """SIGSTOP, SIGCONT, SIGKILL: what a worker has in its hands is frozen, woken or gone."""
        hand = _pick(self.hands, which)
        hand.is_frozen = what == "freeze"
        if what == "crash":
            self.hands.remove(hand)

    @precondition(lambda self: self.hands)
    @rule(which=st.integers(0, 20), is_served=st.booleans())
    def oversleep(self, which: int, is_served: bool) -> None:  # noqa: FBT001
        """Stopped for longer than its lease, and awake again: its job may have been given to another, or be done."""
        hand = _pick(self.hands, which)
        hand.is_frozen = True
        self.time_passes(int(LEASE_S / RENEW_S) + 1)
        for sweep in ("take_over_leases", "queue_due_retries"):
            self.sweep(sweep)
        if is_served:
            self.serve(2)
        hand.is_frozen = False

    @precondition(lambda self: self.letters)
    @rule(which=st.integers(0, 100))
    def settle_letter(self, which: int) -> None:
        ticket = self.letters[which % len(self.letters)]
        was = self.world.row(ticket.job_id)
        self.world.run(self.world.workers.dead_letter.settle(encode([ticket])))
        now = self.world.row(ticket.job_id)
        if was["state"] == "dead" and was["epoch"] == ticket.epoch:
            assert now["state"] in {"queued", "failed"}
            self.jobs[ticket.job_id].tries = 0
        else:
            assert (now["state"], now["epoch"], now["excluded"]) == (was["state"], was["epoch"], was["excluded"])

    @rule(sweep=st.sampled_from(SWEEPS))
    def sweep(self, sweep: str) -> None:
        """The janitor's, one after the other in any order."""
        self.world.run(getattr(self.world.workers.janitor, sweep)())
        self._collect()

    # --- what happens to everybody

    @rule(steps=st.sampled_from([1, 2, 4, 7, 7]))
    def time_passes(self, steps: int) -> None:
        for _step in range(steps):
            self.world.pass_by(RENEW_S)
            self._renew()

    @rule(is_mended=st.booleans())
    def redis_loses_everything(self, is_mended: bool) -> None:  # noqa: FBT001
        self.world.admin.flushall()
        if is_mended:
            self.sweep("mend_counters")

    # --- what must hold

    @invariant()
    def every_job_is_where_it_may_be(self) -> None:
        rows = self.world.look()
        assert {row["id"] for row in rows} == self.jobs.keys(), "a job was lost, or came from nowhere"
        for row in rows:
            known = self.jobs[row["id"]]
            assert known.end in {None, row["state"]}, "an end was not the end"
            known.end = row["state"] if row["state"] in TERMINAL else None
            assert row["epoch"] >= known.epoch
            assert row["attempt"] >= known.attempt
            known.epoch, known.attempt = row["epoch"], row["attempt"]
            assert row["tries"] == known.tries, "only a failure that counts uses up a try"
            assert row["calls"] == known.claims
            assert row["open_calls"] == (row["state"] == "running")
            assert row["open_letters"] == (row["state"] == "dead")
            assert row["body"] == known.answer, "the result is not the one answer that was the job's"
            assert (row["body"] is not None) == (row["state"] == "succeeded")
            assert row["state"] != "expired" or row["may_expire"]
            assert (row["state"] == "cancelled") == known.cancelled

    def teardown(self) -> None:
        """Everybody falls silent; whoever comes after them brings every job to its end, and nothing stays held."""
        self.hands.clear()
        rounds = 0
        while self.world.live():
            rounds += 1
            assert rounds < 300, f"these never end: {self.world.live()}"
            for sweep in SWEEPS:
                self.sweep(sweep)
            self.route()
            while self.letters:
                self.settle_letter(0)
                self.letters.pop(0)
            tickets, self.tickets = self.tickets, []
            for ticket in tickets:
                self._work_off(ticket)
            self.time_passes(4)
        self.every_job_is_where_it_may_be()
        for _lease in range(10):
            self.time_passes(1)
        self.sweep("mend_counters")
        assert [self.world.in_flight(model) for model in MODELS] == [0, 0]

    # --- parts

    def _work_off(self, ticket: Ticket) -> None:
        """What a worker does whom nothing befalls."""
        hand = self._claim(ticket)
        if hand is not None and self._reserve(hand):
            self._settle(hand, used=True)
            self._finish(hand, "answered")
        elif hand is not None:
            self._give_back(hand)

    def _claim(self, ticket: Ticket) -> Hand | None:
        held_ms = self.world.now_ms()
        claim = self.world.claim(ticket)
        if claim is None:
            return None
        self.jobs[claim.id].claims += 1
        self.hands.append(Hand(claim=claim, need=self.world.need(claim), held_ms=held_ms))
        return self.hands[-1]

    def _reserve(self, hand: Hand) -> bool:
        """Whether it was granted; then the model has room for it, and the windows that end with its start."""
        model = hand.claim.model_id
        grants = self.world.exchange(model, (), [hand.need])
        if not grants.answers or isinstance(grants.answers[0], Hindrance):
            return False
        assert len(self._under_way(model)) < self.slots[model], "a call beyond the model's slots"
        start_ms = grants.answers[0] + self.world.clock.passed_ms
        rate, ledger = self.ledgers[model]
        used = units(rate, requests=1, tokens_in=TOKENS, tokens_out=TOKENS)
        hand.entry = ledger.begin(start_ms, used)
        hand.start_ms, hand.slot_until_ms = start_ms, start_ms + LEASE_S * 1000
        return True

    def _finish(self, hand: Hand, end: str) -> tuple[Finish, Fate]:
        finish, known, row = finish_as(end, hand.claim), self.jobs[hand.claim.id], self.world.row(hand.claim.id)
        fate = self.world.finish(finish)
        is_newest = row["state"] == "running" and row["attempt"] == hand.claim.attempt
        assert fate is (Fate.MOVED if is_newest else Fate.STALE)
        if fate is Fate.MOVED:
            known.tries += finish.counted
            known.answer = finish.body if finish.state is JobState.SUCCEEDED else known.answer
        self.hands.remove(hand)
        self.ended.append((finish, fate))
        return finish, fate

    def _give_back(self, hand: Hand) -> None:
        back = Finish(id=hand.claim.id, attempt=hand.claim.attempt, state=JobState.QUEUED, outcome="uncalled")
        self.world.finish(back)
        if hand.start_ms is not None:
            self._settle(hand, used=False)
        self.hands.remove(hand)

    def _collect(self) -> None:
        for model in MODELS:
            self.tickets += self.world.tickets(model)
            self.letters += self.world.letters(model)

    def _able(self, *, started: bool) -> list[Hand]:
        """Hands that are awake, and sure of their lease where they are about to call."""
        now_ms = self.world.now_ms()
        awake = [hand for hand in self.hands if not hand.is_frozen and (hand.start_ms is not None) == started]
        return awake if started else [hand for hand in awake if now_ms - hand.held_ms < LEASE_S * 1000]

    def _under_way(self, model: str) -> list[Hand]:
        """As the provider sees it. Whose slot has run out has had its answer, which nobody has read yet."""
        now_ms = self.world.now_ms()
        return [
            hand
            for hand in self.hands
            if hand.claim.model_id == model and hand.start_ms is not None and hand.slot_until_ms > now_ms
        ]

    def _settle(self, hand: Hand, *, used: bool) -> None:
        assert hand.start_ms is not None
        tokens = TOKENS if used else 0
        over = Ended(
            need=hand.need,
            start_ms=hand.start_ms - self.world.clock.passed_ms,
            requests=int(used),
            tokens_in=tokens,
            tokens_out=tokens,
        )
        self.world.exchange(hand.claim.model_id, [over], ())
        if not used:
            hand.entry[1] = 0

    def _renew(self) -> None:
        """What every worker that is awake does a few times a lease; it lets go of what it has lost and not called."""
        awake = [hand for hand in self.hands if not hand.is_frozen]
        calling = [hand for hand in awake if hand.start_ms is not None]
        asked_ms = self.world.now_ms()
        held, gone = self.world.renew([hand.claim for hand in awake], [hand.need for hand in calling])
        for hand in awake:
            if (hand.claim.id, hand.claim.attempt) in held:
                hand.held_ms = asked_ms
            elif hand.start_ms is None:
                self.hands.remove(hand)
        for hand in calling:
            if hand.need.reservation not in gone:
                hand.slot_until_ms = max(hand.slot_until_ms, asked_ms + LEASE_S * 1000)


def _pick(among: list[Hand], which: int) -> Hand:
    return among[which % len(among)]


@pytest.mark.timeout(300)
def test_every_job_ends_once_and_every_limit_holds_under_random_histories(
    settings: Settings, admin_redis: redis.Redis
) -> None:
    world = JobsWorld(settings.model_copy(update={"lease_s": LEASE_S, "routed_stale_s": 30.0}), admin_redis, CATALOG)

    class Machine(JobsMachine):
        pass

    Machine.world = world
    try:
        until(lambda: world.database_age_s() > LEASE_S, patience_s=LEASE_S + 5, what="Postgres has run for a lease")
        run_state_machine_as_test(
            Machine,
            settings=hypothesis.settings(
                max_examples=25,
                stateful_step_count=50,
                deadline=None,
                # What a shrunk history would save in reading it takes minutes to find.
                phases=[hypothesis.Phase.generate],
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
    finally:
        world.close()
