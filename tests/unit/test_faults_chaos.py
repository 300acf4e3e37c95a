from __future__ import annotations

from tests.faults.chaos import Verdict, idle_rates
from tests.faults.checker import Doubled
from tests.faults.plan import draw


def verdict(**shares: float) -> Verdict:
    return Verdict(
        plan=draw(1, seconds=1, lease_s=1),
        states={},
        calls=0,
        lost=0,
        doubled=Doubled(counted=0, seen=0),
        refused={},
        healed_s=0,
        shares={name.replace("_", " "): share for name, share in shares.items()},
        violations=(),
    )


def test_rate_is_idle_only_where_no_run_filled_its_window_and_slots_are_no_rate() -> None:
    runs = [verdict(a_slots=0.5, a_rpm=0.9, b_tpm=0.1), verdict(a_slots=0.5, a_rpm=0.2, b_tpm=0.79)]
    assert idle_rates(runs) == {"b tpm": 0.79}


def test_half_of_the_jobs_say_how_long_their_answer_may_get_and_none_is_cut_off_by_that() -> None:
    for order in draw(7, seconds=30, lease_s=3).orders:
        assert all(
            most is None or most >= tokens for most, tokens in zip(order.max_tokens, order.tokens_out, strict=True)
        )
    said = [most is not None for order in draw(7, seconds=30, lease_s=3).orders for most in order.max_tokens]
    assert 0.4 < sum(said) / len(said) < 0.6
