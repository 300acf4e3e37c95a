"""The restart rules, without a process: time and chance are arguments."""

from __future__ import annotations

from router_service.embedded.supervisor import LONGEST_DELAY_S, STEADY_AFTER_S, Supervisor, delay_s
from router_service.errors import StackError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A service that lives until the test ends it."""

    def __init__(self, name: str = "role") -> None:
        self.name = name
        self.pid: int | None = None
        self.launches = 0
        self.status: int | None = None
        self.refuses = False

    def launch(self) -> None:
        self.launches += 1
        self.status = None
        if self.refuses:
            raise StackError("no")
        self.pid = 100 + self.launches

    def ready(self) -> bool:
        return self.status is None

    def poll(self) -> int | None:
        return self.status


def longest(_low: float, high: float) -> float:
    return high


def supervise(*services: Scripted) -> tuple[Supervisor, Clock]:
    clock = Clock()
    supervisor = Supervisor(services, clock=clock, uniform=longest)
    supervisor.start()
    return supervisor, clock


def test_pause_doubles_from_a_fifth_of_a_second_to_ten_seconds() -> None:
    assert [delay_s(number, uniform=longest) for number in (0, 1, 2, 5, 6, 999)] == [0.2, 0.4, 0.8, 6.4, 10.0, 10.0]


def test_jitter_covers_the_whole_pause() -> None:
    assert delay_s(3, uniform=lambda low, _high: low) == 0.0


def test_dead_service_starts_again_after_its_pause_and_not_before() -> None:
    role = Scripted()
    supervisor, clock = supervise(role)
    role.status = 1
    assert supervisor.tend()
    assert supervisor.pids == {}
    clock.now += 0.19
    assert not supervisor.tend()
    clock.now += 0.02
    assert supervisor.tend()
    assert supervisor.pids == {"role": 102}


def test_failures_count_in_a_row_and_are_forgotten_after_a_steady_run() -> None:
    role = Scripted()
    supervisor, clock = supervise(role)
    for expected in (1, 2, 3):
        role.status = 1
        supervisor.tend()
        assert supervisor.failures("role") == expected
        clock.now += LONGEST_DELAY_S
        supervisor.tend()
    clock.now += STEADY_AFTER_S
    role.status = 1
    supervisor.tend()
    assert supervisor.failures("role") == 1


def test_service_that_cannot_be_launched_is_tried_again() -> None:
    role = Scripted()
    role.refuses = True
    supervisor, clock = supervise(role)
    assert supervisor.pids == {}
    role.refuses = False
    clock.now += LONGEST_DELAY_S
    assert supervisor.tend()
    assert supervisor.pids == {"role": 102}


def test_death_of_one_does_not_hide_the_death_of_another() -> None:
    first, second = Scripted("first"), Scripted("second")
    supervisor, _ = supervise(first, second)
    first.status = second.status = 1
    supervisor.tend()
    assert supervisor.failures("first") == supervisor.failures("second") == 1


def test_quiet_round_reports_no_change() -> None:
    supervisor, _ = supervise(Scripted())
    assert not supervisor.tend()
