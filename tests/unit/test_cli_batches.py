from __future__ import annotations

from router_service.cli.batches import held_line


def test_jobs_that_no_model_may_take_are_told_with_their_main_reasons() -> None:
    held = {
        "queued": 3,
        "looked_at": 3,
        "reasons": [{"reason": "language", "queued": 2}, {"reason": "rule", "queued": 1}],
    }
    assert held_line(held) == (
        "3 of them wait since no model on offer may take them: language (2), rule (1); "
        "`waybill explain JOB` tells what would have to change"
    )
    many = [{"reason": f"reason-{number}", "queued": 20} for number in range(5)]
    said = held_line({"queued": 900, "looked_at": 100, "reasons": many})
    assert "reason-3 (20), ... of 100 looked at;" in said
