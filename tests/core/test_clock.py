"""The gateway's clock against every jump a wall clock makes. All times here are made up."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.shell.clock import EARLIEST, Adjustment, Clock

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
DECADE = timedelta(days=3652)


class Machine:
    """A wall clock that can be set and a monotonic one that cannot."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at
        self.up = timedelta(seconds=7)

    def wall(self) -> int:
        return (self.at - EPOCH) // timedelta(microseconds=1) * 1000

    def monotonic(self) -> int:
        return self.up // timedelta(microseconds=1) * 1000

    def run(self, by: timedelta) -> None:
        self.at += by
        self.up += by

    def clock(self, floor: datetime | None = None) -> Clock:
        return Clock(floor, wall=self.wall, monotonic=self.monotonic)


def test_without_jumps_it_is_the_wall_clock() -> None:
    machine = Machine()
    clock = machine.clock()
    assert (clock.now(), clock.trusted) == (NOON, True)
    machine.run(HOUR)
    assert clock.now() == NOON + HOUR
    assert clock.check() is None
    assert clock.now().tzinfo is UTC


def test_the_monotonic_clock_carries_it_between_checks() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.at -= DECADE
    machine.up += SECOND
    assert clock.now() == NOON + SECOND


@pytest.mark.parametrize("jump", [2 * SECOND, HOUR, DECADE])
def test_a_jump_forward_is_followed_once(jump: timedelta) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.at += jump
    assert clock.now() == NOON, "not before the check"
    assert clock.check() == Adjustment(jump, trusted=True)
    assert clock.now() == NOON + jump
    assert clock.check() is None
    machine.run(SECOND)
    assert clock.now() == NOON + jump + SECOND


@pytest.mark.parametrize("jump", [2 * SECOND, HOUR, DECADE])
def test_a_jump_backward_is_told_once_and_time_goes_on(jump: timedelta) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.at -= jump
    assert clock.check() == Adjustment(-jump, trusted=False)
    assert (clock.now(), clock.trusted) == (NOON, False)
    machine.run(HOUR)
    assert clock.now() == NOON + HOUR, "neither back nor still"
    assert clock.check() is None
    assert not clock.trusted
    machine.at += jump
    assert clock.check() == Adjustment(jump, trusted=True)
    assert (clock.now(), clock.trusted) == (NOON + HOUR, True)


def test_the_wall_may_overshoot_or_fall_back_again_while_it_is_behind() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.at -= HOUR
    clock.check()
    machine.at -= HOUR
    assert clock.check() == Adjustment(-HOUR, trusted=False)
    machine.at += HOUR
    assert clock.check() == Adjustment(HOUR, trusted=False), "still an hour behind"
    machine.at += 3 * HOUR
    assert clock.check() == Adjustment(3 * HOUR, trusted=True)
    assert clock.now() == NOON + 2 * HOUR


@pytest.mark.parametrize("jump", [SECOND, -SECOND, SECOND / 2, timedelta(0)])
def test_up_to_a_second_is_no_jump(jump: timedelta) -> None:
    machine = Machine()
    clock = machine.clock()
    machine.at += jump
    assert clock.check() is None
    assert (clock.now(), clock.trusted) == (NOON, True)


def test_a_slow_drift_is_told_when_it_adds_up_to_more_than_a_second() -> None:
    machine = Machine()
    clock = machine.clock()
    told = []
    for _ in range(15):
        machine.run(SECOND)
        machine.at += SECOND / 10
        told.append(clock.check())
    assert [each for each in told if each] == [Adjustment(1.1 * SECOND, trusted=True)]


def test_a_box_that_wakes_in_1970_goes_on_where_the_log_ends() -> None:
    machine = Machine(EPOCH)
    clock = machine.clock(floor=NOON)
    assert (clock.now(), clock.trusted) == (NOON, False)
    assert clock.check() == Adjustment(EPOCH - NOON, trusted=False)
    machine.run(HOUR)
    assert clock.now() == NOON + HOUR
    assert clock.check() is None
    machine.at = NOON + 2 * HOUR  # the network has told it the time
    found = clock.check()
    assert found is not None
    assert found.trusted
    assert clock.now() == NOON + 2 * HOUR


def test_with_no_log_yet_1970_is_still_not_believed() -> None:
    clock = Machine(EPOCH).clock()
    assert (clock.now(), clock.trusted) == (EARLIEST, False)


def test_a_restart_never_goes_back() -> None:
    machine = Machine()
    first = machine.clock()
    machine.at += HOUR
    first.check()
    last = first.now()
    machine.at -= HOUR
    again = machine.clock(floor=last)
    assert again.now() == last
    assert not again.trusted
    machine.run(HOUR)  # the wall reaches the floor, our time has gone on
    assert again.now() == last + HOUR


def test_a_floor_in_the_past_changes_nothing() -> None:
    clock = Machine().clock(floor=NOON - HOUR)
    assert (clock.now(), clock.trusted, clock.check()) == (NOON, True, None)


def test_milliseconds_for_the_log() -> None:
    assert Adjustment(-1.5 * SECOND, trusted=False).by_milliseconds == -1500


STEPS = st.lists(st.tuples(st.floats(-4e8, 4e8), st.floats(0, 1e5), st.booleans()), max_size=30)


@given(STEPS)
def test_it_never_stands_still_never_goes_back_and_is_trusted_only_when_right(
    steps: list[tuple[float, float, bool]],
) -> None:
    machine = Machine()
    clock = machine.clock()
    for jump, run, checked in steps:
        before = clock.now()
        machine.run(timedelta(seconds=run))
        machine.at = max(machine.at + timedelta(seconds=jump), EPOCH)
        if machine.at.year > 2100:
            machine.at = NOON
        if checked:
            clock.check()
            assert clock.trusted == (machine.at - clock.now() >= -SECOND)
            assert machine.at - clock.now() <= SECOND
        assert clock.now() - before >= timedelta(seconds=run) - timedelta(microseconds=2)


def test_the_real_clocks_are_the_default() -> None:
    clock = Clock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=10)
