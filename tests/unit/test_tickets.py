from __future__ import annotations

import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.tickets import (
    CALL_TASK,
    DEAD_LETTER_TASK,
    ROUTE_TASK,
    Message,
    Ticket,
    dead_letter_queue,
    decode,
    encode,
    model_queue,
)

HEX = "0" * 32
tickets = st.lists(
    st.builds(
        Ticket, job_id=st.uuids(), epoch=st.integers(0, 2**31 - 1), attempt=st.integers(0, 2**31), urgent=st.booleans()
    ),
    max_size=5,
)


@given(tickets)
def test_tickets_come_back_as_they_went_through_json(given_tickets: list[Ticket]) -> None:
    assert decode(json.loads(json.dumps(encode(given_tickets)))) == given_tickets


@pytest.mark.parametrize(
    "forged",
    [
        None,
        "x",
        7,
        {},
        [None],
        ["x"],
        [[]],
        [[HEX]],
        [[HEX, 1]],
        [[HEX, 1, 0]],
        [[HEX, 1, 0, 0, 0]],
        [[HEX, "1", 0, 0]],
        [[HEX, 1, 0, "0"]],
        [[HEX, 1, 0, 2]],
        [[HEX, 1, 0, -1]],
        [[HEX, 1, 0, None]],
        [[HEX, -1, 0, 0]],
        [[HEX, 2**31, 0, 0]],
        [[HEX, 1.5, 0, 0]],
        [[HEX, None, 0, 0]],
        [["", 1, 0, 0]],
        [["nonsense", 1, 0, 0]],
        [[HEX + "0", 1, 0, 0]],
        [[5, 1, 0, 0]],
        [{"job_id": HEX, "epoch": 1}],
        [[HEX, 1, 0, 0], None],
    ],
)
def test_a_forged_message_is_refused(forged: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (Python's own words for a wrong UUID are as good)
        decode(forged)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=40)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=10,
)


@given(json_values)
def test_whatever_a_broker_hands_over_is_tickets_or_a_value_error(anything: object) -> None:
    try:
        found = decode(anything)
    except ValueError:
        return
    assert all(isinstance(ticket.job_id, UUID) for ticket in found)


def test_each_model_has_a_queue_and_a_dead_letter_queue() -> None:
    assert (model_queue("a/b"), dead_letter_queue("a/b")) == ("model.a/b", "dlq.a/b")


def test_the_arguments_of_a_message_are_its_tickets_and_the_model_where_calls_are_meant() -> None:
    ticket = Ticket(job_id=UUID(HEX), epoch=3, attempt=2, urgent=True)
    assert Message(queue="q", task=ROUTE_TASK).arguments == []
    assert Message(queue="q", task=CALL_TASK, tickets=[ticket], model_id="a").arguments == [[[HEX, 3, 2, 1]], "a"]
    assert Message(queue="q", task=DEAD_LETTER_TASK, tickets=[ticket]).arguments == [[[HEX, 3, 2, 1]]]
