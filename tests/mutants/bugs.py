"""The list of seeded bugs: each a promise that is broken in one place, and the test that must notice.

`old` stands in its file exactly once; a test in CI checks that, so that the list does not go stale unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass

QUERIES = "router_service/store/queries"
JANITOR = "workers/janitor.py"
SWEEP = "tests/faults/test_failpoints.py::test_fault_heals"
WAY = "tests/integration/test_store_way.py"
SWEEPS = "tests/integration/test_store_sweeps.py"
LETTERS = "tests/integration/test_dead_letter_worker.py"
CAPACITY = "router_service/capacity"
SIGNALS = "tests/integration/test_router_signals.py"
LANES = "tests/integration/test_router_lanes.py"
WISHES = "tests/unit/test_routing_wishes.py"
GATE = "tests/integration/test_capacity_gate.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One mutation. `also` are further edits where a promise is kept twice in the file; `red` is the test that must fail."""

    name: str
    why: str
    file: str
    old: str
    new: str
    red: str
    also: tuple[tuple[str, str], ...] = ()

    @property
    def edits(self) -> tuple[tuple[str, str], ...]:
        return ((self.old, self.new), *self.also)


BUGS: tuple[Bug, ...] = (
    Bug(
        name="no-lease-sweep",
        why="a call whose worker died is never taken over: its job is lost",
        file=JANITOR,
        old="            (tick_s, self.take_over_leases),\n",
        new="",
        red=f"{SWEEP}[provider.after_claim-kill]",
    ),
    Bug(
        name="no-routed-sweep",
        why="a ticket that was lost is never issued anew",
        file=JANITOR,
        old="            (tick_s, self.reissue_tickets),\n",
        new="",
        red=f"{SWEEP}[router.after_commit-kill]",
    ),
    Bug(
        name="no-letter-sweep",
        why="a dead letter whose ticket was lost is never sent again",
        file=JANITOR,
        old="            (LOST_LETTER_S / 2, self.resend_dead_letters),\n",
        new="",
        red=f"{SWEEP}[provider.before_dead_letter-kill]",
    ),
    Bug(
        name="no-deadline-sweep",
        why="a job whose deadline has passed waits for ever",
        file=JANITOR,
        old="            (tick_s, self.expire),\n",
        new="",
        red=f"{SWEEP}[janitor.deadlines-kill]",
    ),
    Bug(
        name="tickets-survive-the-loss-of-redis",
        why="routed jobs whose tickets went with Redis are not queued again when the counters are rebuilt",
        file="workers/mending.py",
        old="requeued = await sweeps.unticketed(session)",
        new="requeued = 0",
        red="tests/integration/test_janitor.py",
    ),
    Bug(
        name="late-finish-overwrites",
        why="the end of a call is not fenced by its attempt: a worker that wakes after its lease ends its successor's call",
        file=f"{QUERIES}/job_finish.sql",
        old="  WHERE j.state = 'running' AND j.attempt = g.attempt ORDER BY j.id FOR UPDATE OF j",
        new="  WHERE j.state = 'running' ORDER BY j.id FOR UPDATE OF j",
        also=(("WHERE j.id = g.id AND j.attempt = g.attempt\n", "WHERE j.id = g.id\n"),),
        red=f"{WAY}::test_a_late_finish_does_not_overwrite_a_rescued_job_and_is_recorded",
    ),
    Bug(
        name="claim-of-any-epoch",
        why="a claim is not fenced by the epoch: a ticket from before a requeue runs the job too",
        file=f"{QUERIES}/job_claim.sql",
        old="j.state = 'routed' AND j.epoch = w.epoch AND ",
        new="j.state = 'routed' AND ",
        red=f"{WAY}::test_a_claim_of_an_old_epoch_changes_nothing",
    ),
    Bug(
        name="renewal-of-anybodys-lease",
        why="a renewal is not fenced by the attempt: a worker keeps a lease alive that is another's",
        file=f"{QUERIES}/job_renew.sql",
        old="  WHERE j.state = 'running' AND j.attempt = g.attempt ORDER BY",
        new="  WHERE j.state = 'running' ORDER BY",
        red=f"{WAY}::test_renewing_an_old_call_does_not_prolong_the_lease_of_its_successor",
    ),
    Bug(
        name="old-tickets-stay-good",
        why="a job is queued again under its old epoch: the ticket that was late is good once more",
        file=f"{QUERIES}/sweep_routed.sql",
        old="state = 'queued', epoch = j.epoch + 1, routed_at",
        new="state = 'queued', routed_at",
        red=f"{SWEEPS}::test_a_ticket_that_was_not_taken_is_stale_from_then_on",
    ),
    Bug(
        name="deadline-ignored-at-claim",
        why="a job is called after its deadline",
        file=f"{QUERIES}/job_claim.sql",
        old=" AND (j.deadline IS NULL OR j.deadline > now())",
        new="",
        red=f"{WAY}::test_a_job_is_not_claimed_after_its_deadline",
    ),
    Bug(
        name="poison-never-ends",
        why="a job that kills its workers is tried for ever",
        file=f"{QUERIES}/sweep_leases.sql",
        old="state = CASE WHEN j.lost_leases + 1 < :poison",
        new="state = CASE WHEN j.lost_leases + 1 < :poison + 1000",
        red=f"{SWEEPS}::test_the_third_lost_lease_is_poison_and_writes_one_dead_letter",
    ),
    Bug(
        name="leases-judged-by-a-database-that-just-woke",
        why="after a restart of Postgres calls are taken over whose workers could not renew",
        file=f"{QUERIES}/sweep_leases.sql",
        old="    AND pg_postmaster_start_time() < now() - make_interval(secs => :lease_s)\n",
        new="",
        red=f"{SWEEPS}::test_nothing_is_taken_over_in_the_first_lease_after_the_database_started",
    ),
    Bug(
        name="dead-letter-without-evidence",
        why="a job that a model gave up on leaves no letter",
        file=f"{QUERIES}/job_finish.sql",
        old="WHERE m.state = 'dead'\n",
        new="WHERE m.state = 'dead' AND false\n",
        red=f"{WAY}::test_a_dead_letter_is_written_once_however_often_its_finish_is",
    ),
    Bug(
        name="fallback-skips-residency",
        why="a job that failed once is no longer held to its residency",
        file="router_service/routing/constraints.py",
        old="    if residency is None:\n",
        new="    if residency is None or asked.spec.excluded:\n",
        red=f"{LETTERS}::test_a_fallback_never_leaves_the_jobs_constraints",
    ),
    Bug(
        name="failed-model-asked-again",
        why="the model that gave up on a job is asked again",
        file="router_service/routing/constraints.py",
        old="    not_excluded,\n",
        new="",
        red=f"{LETTERS}::test_a_model_that_gave_up_is_never_asked_again_for_the_same_job",
    ),
    Bug(
        name="throttle-counted-as-a-try",
        why="a job fails because its model was busy",
        file="router_service/policy/after.py",
        old="counted=bound is not None)",
        new="counted=True)",
        red="tests/unit/test_policy_after.py::test_a_throttle_never_uses_up_a_try_and_never_comes_back_early",
    ),
    Bug(
        name="backoff-without-jitter",
        why="all that failed together comes back together",
        file="router_service/policy/after.py",
        old="** min(tries, 30)) * jitter)",
        new="** min(tries, 30)))",
        red="tests/unit/test_policy_after.py",
    ),
    Bug(
        name="running-job-cannot-be-told-from-a-cancelled-one",
        why="the answer of a job that was cancelled meanwhile is stored as its result",
        file=f"{QUERIES}/job_cancel.sql",
        old="SET state = 'cancelled', attempt = j.attempt + (b.state = 'running')::integer, lease_until = NULL,",
        new="SET state = CASE b.state WHEN 'running' THEN 'running' ELSE 'cancelled' END, lease_until = j.lease_until,",
        red=f"{WAY}::test_the_answer_to_a_cancelled_call_is_late_and_stores_no_result",
    ),
    Bug(
        name="batch-ends-twice",
        why="two janitors write a batch's files twice",
        file=f"{QUERIES}/batch_ready.sql",
        old=" FOR UPDATE OF b SKIP LOCKED",
        new="",
        red="tests/integration/test_store_batches.py::test_two_janitors_at_once_end_a_batch_once",
    ),
    Bug(
        name="acceptance-before-commit",
        why="202 is sent for a job whose transaction is thrown away",
        file="router_service/api/jobs.py",
        old='        failpoint("api.jobs.before_commit")\n',
        new="        await (await session.driver()).rollback()\n",
        red="tests/integration/test_api_jobs.py",
    ),
    Bug(
        name="release-once",
        why="held jobs are not let go under a new catalog where the first try fails",
        file="workers/router.py",
        old="        released = dispatch.MOST_RELEASED\n",
        new="        self._held, self._held_under = {}, version\n        released = dispatch.MOST_RELEASED\n",
        red=f"{SWEEP}[router.before_release_commit-raise]",
    ),
    Bug(
        name="talkative-api",
        why="an error nobody foresaw is logged with the values of all variables: prompts and keys",
        file="router_service/api/serve.py",
        old='    logs.configure(level=settings.log_level, style=settings.log_format, role="api")\n',
        new="",
        red=f"{SWEEP}[api.jobs.after_commit-raise]",
    ),
    Bug(
        name="gate-always-open",
        why="after a loss of Redis capacity is reserved from counters that know nothing",
        file=f"{CAPACITY}/reserve.lua",
        old="if redis.call('EXISTS', KEYS[1]) == 0 then",
        new="if false then",
        red=f"{GATE}::test_losing_redis_shuts_the_gate",
    ),
    Bug(
        name="log-not-put-back",
        why="what the last minute gave is forgotten with Redis, and given once more",
        file="workers/mending.py",
        old="calls, started, pauses=",
        new="calls, [], pauses=",
        red="tests/integration/test_mending.py::test_a_rate_that_redis_forgot_is_busy_for_what_was_given_of_late",
    ),
    Bug(
        name="calls-under-way-forgotten",
        why="a call that was claimed before the window is under way, and counts for nothing after the loss of Redis",
        file=f"{QUERIES}/given_of_late.sql",
        old="WHERE j.state = 'running'",
        new="WHERE j.state = 'running' AND a.started_at > now() - make_interval(secs => :within_s)",
        red="tests/integration/test_store_sweeps.py"
        "::test_a_call_that_waited_for_its_start_longer_than_the_window_counts_all_the_same",
    ),
    Bug(
        name="answers-without-limit-forgotten",
        why="answers whose length was not limited count for nothing after the loss of Redis",
        file="workers/mending.py",
        old=" + given.unlimited * unlimited_out",
        new="",
        red="tests/integration/test_mending.py::test_answers_without_a_limit_count_as_a_worker_reserves_them",
    ),
    Bug(
        name="lapsed-lease-is-used",
        why="a worker that was stopped for longer than its lease calls with a slot that is another's by now",
        file="workers/desk.py",
        old="if now - min(job.held_at, job.kept_at) >= self._office.lease_s:",
        new="if False:",
        red="tests/unit/test_desk_loops.py::test_a_start_after_the_lease_has_run_out_is_given_back",
    ),
    Bug(
        name="window-not-looked-at",
        why="bursts and the pace together exceed a sliding minute",
        file=f"{CAPACITY}/reserve.lua",
        old="local function fits() return left + units <= rate.limit or left <= 0 end",
        new="local function fits() return true end",
        red="tests/integration/test_capacity_windows.py::test_requests_in_any_sliding_minute_stay_within_the_limit",
    ),
    Bug(
        name="settled-twice",
        why="an answer that is told twice gives its tokens back twice",
        file=f"{CAPACITY}/settle.lua",
        old="if redis.call('ZSCORE', key('slots', model.name), name) then",
        new="if true then",
        red="tests/integration/test_capacity_settle.py::test_a_reservation_settles_once_in_all_its_scopes",
    ),
    Bug(
        name="slot-of-a-call-that-may-still-run",
        why="a call that timed out frees its slot while the provider is at it",
        file="workers/provider.py",
        old="hold=outcome is None or is_timeout or isinstance(outcome, OutOfTime),",
        new="hold=False,",
        red="tests/integration/test_provider_calls.py::test_a_call_that_timed_out_keeps_its_slot_until_its_lease_runs_out",
    ),
    Bug(
        name="missed-start-is-used",
        why="a start that was granted for another moment is used, beside what others start then",
        file="workers/desk.py",
        old="        if missed:\n",
        new="        if False:\n",
        red="tests/unit/test_desk_loops.py::test_a_start_that_was_missed_is_given_back_for_another_one",
    ),
    Bug(
        name="breaker-never-opens",
        why="a model that fails gets every job",
        file=f"{CAPACITY}/settle.lua",
        old="if row > ask.blocking_fails or ask.blocking_fails == ask.allowed_fails then",
        new="if false then",
        red="tests/integration/test_capacity_health.py::test_the_breaker_opens_after_more_failures_than_are_allowed",
    ),
    Bug(
        name="left-the-window-and-counted",
        why="a model that was busy a minute ago looks busy until it is used again, which the router therefore does not do",
        file=f"{CAPACITY}/snapshot.lua",
        old="    for _, member in ipairs(left) do sum = sum - units_in(member) end\n",
        new="",
        red="tests/integration/test_capacity_health.py"
        "::test_a_snapshot_counts_what_is_still_in_the_window_and_not_what_has_left",
    ),
    Bug(
        name="failures-not-remembered",
        why="a model that fails every third call looks as good as one that never does",
        file=f"{CAPACITY}/settle.lua",
        old="((verdict == 'failed' and 1 or 0) - sums[11])",
        new="(0 - sums[11])",
        red="tests/integration/test_capacity_settle.py::test_the_share_of_failed_calls_fades_and_is_told_with_its_base",
    ),
    Bug(
        name="places-without-end",
        why="the whole backlog goes into a model's queue, where nothing can be cancelled or overtaken",
        file=f"{CAPACITY}/place.lua",
        old="if scope.places >= scope.most_places + more then taken[index] = 0 end",
        new="",
        also=(
            ("if scope.most >= 0 and scope.calls + scope.places >= scope.most + more then taken[index] = 0 end", ""),
        ),
        red="tests/integration/test_router_worker.py"
        "::test_about_a_second_of_work_beyond_the_slots_is_routed_and_the_rest_stays_queued",
    ),
    Bug(
        name="place-leaked",
        why="places of jobs that were not routed stay taken",
        file="workers/router.py",
        old="            await self._placing.leave(now.placed)\n            raise",
        new="            raise",
        red="tests/integration/test_router_worker.py::test_a_pass_that_fails_gives_its_places_back",
    ),
    Bug(
        name="tenants-cap-skipped",
        why="one tenant may use all that a model has",
        file=f"{CAPACITY}/scopes.py",
        old="    if tenant.slots is not None or tenant.rates:\n",
        new="    if False:\n",
        red="tests/integration/test_desk.py::test_the_cap_of_a_tenant_holds_across_workers_and_holds_nobody_else_up",
    ),
    Bug(
        name="first-come-first-served",
        why="a tenant with a million jobs goes before all who come later",
        file="router_service/routing/fairness.py",
        old="        tags[tenant_id] = start + _cost(job, weights)\n",
        new="",
        red="tests/unit/test_routing_fairness.py",
    ),
    Bug(
        name="claimed-while-full",
        why="a worker claims all that waits: nothing of it can be cancelled before it is paid for",
        file="workers/desk.py",
        old="            if len(jobs) + (urgent if is_urgent else len(ready)) >= self._target:\n                break\n",
        new="",
        red="tests/unit/test_desk_loops.py::test_no_more_is_claimed_than_the_slots_and_what_starts_within_a_tenth_of_a_second",
    ),
    Bug(
        name="language-ignored",
        why="a model for German alone is sent Arabic",
        file="router_service/routing/constraints.py",
        old="    knows_language,\n",
        new="",
        red=f"{SIGNALS}::test_a_specialist_gets_the_jobs_of_its_language",
    ),
    Bug(
        name="unknown-use-of-data-is-fine",
        why="a model that does not say whether it trains on what it is sent gets what may not be trained on",
        file="router_service/routing/constraints.py",
        old="    if wishes.no_training and model.trains_on_data is not False:\n",
        new="    if wishes.no_training and model.trains_on_data:\n",
        red=f"{WISHES}::test_what_is_not_known_of_safety_use_of_data_and_price_is_not_eligible",
    ),
    Bug(
        name="missing-plugin-lets-through",
        why="a policy's constraint is skipped where its package is not installed",
        file="router_service/routing/decision.py",
        old="        out = Rejection(reason=MISSING, bound=name) if constraint is None else asked_of(",
        new="        out = None if constraint is None else asked_of(",
        red=f"{WISHES}::test_a_plugin_that_is_missing_lets_no_model_through_and_is_named",
    ),
    Bug(
        name="snapshot-of-the-last-look",
        why="a decision is stored with other counters than it was taken from",
        file="workers/placing.py",
        old="        snapshot = Snapshot(counters={name: self.counters[name] for name in sorted(models)})\n",
        new="        snapshot = next(iter(self._seen.values()), Snapshot(counters=dict(self.counters)))\n",
        red=f"{SIGNALS}::test_what_is_decided_anew_in_a_pass_is_stored_with_what_was_known_by_then",
    ),
    Bug(
        name="lane-holds-up-the-idle",
        why="jobs that wait for a full model hold up those behind them, whose model is idle",
        file="workers/router.py",
        old="                    lane = _lane_apart(each, decision, now) or each.lane\n",
        new="                    lane = each.lane\n",
        red=f"{LANES}::test_a_full_specialist_does_not_hold_up_the_other_jobs_of_its_lane",
    ),
    Bug(
        name="dead-letter-without-words",
        why="a job that failed is queued for a model that its language forbids, and waits without end",
        file="workers/dead_letter.py",
        old="known.get(each.job.id, NOTHING)",
        new="NOTHING",
        red=f"{SIGNALS}::test_a_dead_letter_goes_only_to_a_model_that_the_words_allow",
    ),
    Bug(
        name="wishes-told-to-the-provider",
        why="what a request says to the router is sent on",
        file="workers/providers/openai_wire.py",
        old="            request.pop(field, None)\n",
        new="            request.get(field)\n",
        red="tests/contract/test_openai_wire_adapter.py::test_what_is_said_to_the_router_is_not_sent_on",
    ),
    Bug(
        name="verdict-counts-again",
        why="one that is given twice counts twice",
        file=f"{QUERIES}/verdict_give.sql",
        old="    CASE WHEN b.job_id IS NULL THEN 1 ELSE 0 END AS trials\n",
        new="    1 AS trials\n",
        red="tests/integration/test_api_feedback.py::test_a_verdict_counts_once_for_each_source_and_may_be_changed",
    ),
    Bug(
        name="learns-from-who-said-no",
        why="verdicts of a tenant who does not want that are counted",
        file="router_service/api/feedback.py",
        old="        if learn != NOBODYS:\n",
        new="        if learn:\n",
        red="tests/integration/test_api_feedback.py::test_only_who_may_learn_learns",
    ),
    Bug(
        name="exploration-without-bounds",
        why="a share of the jobs goes to any model, however bad or dear",
        file="router_service/routing/exploration.py",
        old="    others = [each for each in peers if each is not best and _in_bounds(each, best)]\n",
        new="    others = [each for each in peers if each is not best]\n",
        red="tests/unit/test_routing_strategies.py::test_a_small_share_tries_another_model_within_bounds",
    ),
)
