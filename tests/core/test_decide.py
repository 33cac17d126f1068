"""Corners of the rules that no story at the door reaches. The stories are in tests/transcripts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core import commands as cmd
from gateway.core import events as ev
from gateway.core.decide import decide
from gateway.core.evolve import evolve
from gateway.core.model import Appointment, Clerk, Finding, Proof, Rules, Shift, Technology, derived, is_id
from gateway.core.receipts import First, Outcome, Receipt
from gateway.core.state import State, digest, from_bytes, to_bytes
from gateway.core.states import ACTIONS, IMPOSSIBLE, STATUSES
from gateway.core.table import Table
from gateway.core.timers import deadline_of

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RULES = Rules()
BOOKED = Appointment("a-1", TEN, TEN + timedelta(minutes=30), visitor="v-anna", clerk="marco")
MARCO = Clerk("marco", shifts=(Shift(TEN - timedelta(hours=1), TEN + 5 * SECOND),))
TOKEN = Finding("appointment", Proof.PROVEN, ("v-anna",), "a-1", (BOOKED,))
ANNA_READS = cmd.RecordRead(
    id="read:door-1:r1",
    at=TEN,
    read="r1",
    reader="door-1",
    zone="door",
    technology=Technology.QR,
    finding=TOKEN,
)
VISIT = derived("visit", ANNA_READS.id)


def after(*commands: cmd.Command) -> State:
    """The state after some commands."""
    state, seq = State(), 0
    for command in commands:
        for event in decide(state, command, RULES).events:
            seq += 1
            state = evolve(state, event, seq)
    return state


def roster(clerk: Clerk) -> cmd.RosterClerk:
    return cmd.RosterClerk(id=f"dir:clerk:{clerk.id}:{clerk.version}", at=TEN, clerk=clerk)


def plan(appointment: Appointment) -> cmd.PlanAppointment:
    return cmd.PlanAppointment(id=f"dir:{appointment.version}", at=TEN, appointment=appointment)


def test_a_command_without_a_rule_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no rule for Command"):
        decide(State(), cmd.Command(id="x", at=TEN), RULES)


def test_a_tick_does_only_what_is_due_and_that_once() -> None:
    state = after(roster(MARCO), ANNA_READS)
    subjects = (VISIT, VISIT, "visit-of-yesterday", "clerk:nobody", "clerk:marco")
    early = cmd.Tick(id="tick:1", at=TEN + 4 * SECOND, subjects=subjects)
    assert decide(state, early, RULES).events == ()
    late = replace(early, at=TEN + 60 * SECOND)
    names = [event.name for event in decide(state, late, RULES).events]
    assert names == ["clerk.off-shift", "visit.escalated", "visit.alerted"]


def test_an_alert_is_not_repeated_to_a_clerk_whose_shift_ends_in_the_same_tick() -> None:
    state = after(roster(MARCO), ANNA_READS)
    due = TEN + 5 * SECOND
    assert deadline_of(state, VISIT) == deadline_of(state, "clerk:marco") == due
    tick = cmd.Tick(id="tick:1", at=due, subjects=(VISIT, "clerk:marco"))
    decision = decide(state, tick, RULES)
    assert [event.name for event in decision.events] == ["clerk.off-shift"]
    for event in decision.events:
        state = evolve(state, event, 9)
    assert deadline_of(state, VISIT) == TEN + 60 * SECOND


def test_what_the_directory_sends_again_changes_nothing() -> None:
    second = replace(BOOKED, version=2, start=TEN + timedelta(hours=1))
    state = after(roster(MARCO), plan(second))
    for again in (roster(MARCO), plan(second), plan(BOOKED), plan(replace(BOOKED, status="cancelled"))):
        decision = decide(state, again, RULES)
        assert decision.outcome is Outcome.ACCEPTED
        assert decision.events == ()
    assert state.appointments["a-1"].start == second.start


def test_a_version_that_is_there_is_never_overwritten() -> None:
    state = after(plan(BOOKED))
    assert decide(state, plan(replace(BOOKED, start=TEN + SECOND)), RULES).events == ()


@pytest.mark.parametrize(("ended", "planned"), [(timedelta(days=1), 1), (timedelta(days=1) + SECOND, 0)])
def test_what_is_long_over_is_not_planned(ended: timedelta, planned: int) -> None:
    old = replace(BOOKED, start=TEN - timedelta(days=2), end=TEN - ended)
    assert len(decide(State(), plan(old), RULES).events) == planned


def test_how_long_things_last() -> None:
    opened, _, alerted = decide(State(), ANNA_READS, RULES).events
    assert isinstance(opened, ev.VisitOpened)
    assert isinstance(alerted, ev.VisitAlerted)
    assert opened.abandon_at == TEN + timedelta(hours=12)
    assert alerted.expires_at == TEN + timedelta(minutes=15)
    state = after(ANNA_READS)
    done = cmd.ClerkAction(id="d", at=TEN + SECOND, clerk="marco", visit=VISIT, action="not_here")
    forgotten = cmd.Tick(id="t", at=opened.abandon_at, subjects=(VISIT,))
    later = replace(BOOKED, id="a-2", start=TEN + timedelta(minutes=20))
    finding = replace(TOKEN, named="a-2", appointments=(BOOKED, later))
    other = replace(ANNA_READS, id="read:door-1:r2", at=TEN + SECOND, finding=finding)
    for command in (done, forgotten, other):
        closed = decide(state, command, RULES).events[0]
        assert isinstance(closed, ev.VisitClosed)
        assert closed.forget_at == command.at + timedelta(hours=12)


@pytest.mark.parametrize(("seconds", "visits"), [(900, 1), (901, 2)])
def test_how_long_a_walk_in_who_is_looked_after_may_turn_out_to_be_expected(
    seconds: int, visits: int
) -> None:
    walk_in = replace(ANNA_READS, id="read:door-1:r0", finding=Finding("loyalty", Proof.HELD, ("v-anna",)))
    name = derived("visit", walk_in.id)
    coming = cmd.ClerkAction(id="c", at=TEN, clerk="giulia", visit=name, action="coming")
    state = after(walk_in, coming, replace(ANNA_READS, at=TEN + seconds * SECOND))
    assert len(state.visits) == visits


@pytest.mark.parametrize(("second", "reason"), [(0, "stale-read"), (-1, None)])
def test_a_clock_that_was_never_set_is_no_evidence(second: int, reason: str | None) -> None:
    said = datetime(2024, 1, 1, tzinfo=UTC) + second * SECOND
    decision = decide(State(), replace(ANNA_READS, read_time=said), RULES)
    assert decision.reason == reason
    flags = [event.flags for event in decision.events if isinstance(event, ev.SightingRecorded)]
    assert flags == [("stale",) if reason else ("reader-clock-unset",)]


def test_whoever_is_not_in_the_roster_may_come_as_well() -> None:
    state = after(ANNA_READS)
    for action in ("coming", "serving", "done"):
        command = cmd.ClerkAction(id=action, at=TEN, clerk="temp", visit=VISIT, action=action)
        for event in decide(state, command, RULES).events:
            state = evolve(state, event, 9)
    assert state.visits[VISIT].status == "closed"
    assert state.visits[VISIT].assigned == "temp"


def test_a_clerks_load_is_what_she_has_now() -> None:
    bruno = replace(ANNA_READS, id="read:door-1:b", finding=Finding("loyalty", Proof.HELD, ("v-bruno",)))
    anna_is, bruno_is = VISIT, derived("visit", bruno.id)
    state = after(roster(Clerk("marco")), roster(Clerk("giulia")), ANNA_READS, bruno)
    seen = []
    for clerk, visit, action in (
        ("marco", anna_is, "coming"),
        ("marco", bruno_is, "coming"),
        ("marco", anna_is, "done"),
        ("marco", bruno_is, "pass"),
        ("giulia", bruno_is, "coming"),
    ):
        command = cmd.ClerkAction(
            id=f"{clerk}/{visit}/{action}",
            at=TEN,
            clerk=clerk,
            visit=visit,
            action=action,
            to="giulia",
            reason="why",
        )
        for event in decide(state, command, RULES).events:
            state = evolve(state, event, 9)
        seen.append((state.clerks["marco"].visits, state.clerks["giulia"].visits))
    assert seen == [
        ((anna_is,), ()),
        ((anna_is, bruno_is), ()),
        ((bruno_is,), ()),
        ((), ()),
        ((), (bruno_is,)),
    ]


@pytest.mark.parametrize(
    ("day", "kept"), [("2026-11-21", ["later", "open"]), ("2026-11-22", ["later", "now", "open"])]
)
def test_once_a_day_the_state_lets_go_of_what_is_over(day: str, kept: list[str]) -> None:
    visit = after(ANNA_READS).visits[VISIT]
    planned = after(plan(BOOKED)).appointments["a-1"]
    soon, yesterday = TEN + SECOND, TEN - timedelta(days=1)
    old = State(
        day=day,
        visits=Table(
            {"now": replace(visit, forget_at=TEN), "later": replace(visit, forget_at=soon), "open": visit}
        ),
        people=Table({"v-now": "now", "v-later": "later", "v-open": "open"}),
        appointments=Table(
            {"now": replace(planned, end=yesterday), "later": replace(planned, end=yesterday + SECOND)}
        ),
        tokens=Table({"now": TEN, "later": soon}),
    )
    new = evolve(old, ev.ReaderRecovered(at=TEN, reader="door-1"), 9)
    assert list(new.visits) == kept
    assert list(new.people) == [f"v-{name}" for name in kept]
    assert [*new.appointments, "open"] == [*new.tokens, "open"] == kept


def test_only_the_last_twenty_sightings_stay_in_the_state() -> None:
    more = [
        replace(ANNA_READS, id=f"read:door-1:m{n}", read=f"m{n}", at=TEN + n * SECOND) for n in range(1, 26)
    ]
    state = after(ANNA_READS, *more)
    assert [s.read for s in state.visits[VISIT].sightings] == [f"m{n}" for n in range(6, 26)]


def test_every_status_answers_every_action() -> None:
    """The tables are whole: an action either has a next status or a sentence that says why not."""
    assert set(IMPOSSIBLE) == set(STATUSES)
    for steps in ACTIONS.values():
        assert set(steps) <= set(STATUSES)
        assert set(steps.values()) <= set(STATUSES)


def test_what_is_no_state_is_refused() -> None:
    state = after(roster(MARCO), ANNA_READS)
    assert from_bytes(to_bytes(state)) == state
    assert digest(from_bytes(to_bytes(state))) == digest(state)
    for text in (b"", b"7", b'{"visits":{"visit-1":{}}}', to_bytes(state).replace(b"2026-11-22T", b"today ")):
        with pytest.raises((ValueError, KeyError, TypeError)):
            from_bytes(text)


def test_the_first_outcome_is_the_one_that_counts() -> None:
    refused = Receipt("c", Outcome.REFUSED, "taken")
    assert refused.final == First(Outcome.REFUSED, "taken")
    again = Receipt("c", Outcome.REPEATED, "taken", first=refused.final)
    assert again.final == refused.final


@pytest.mark.parametrize("text", ["marco", "A.b_c:d-9", "x" * 128])
def test_an_id(text: str) -> None:
    assert is_id(text)


@pytest.mark.parametrize("text", ["", "x" * 129, "a/b", "a b", "a\n", "è"])
def test_no_id(text: str) -> None:
    assert not is_id(text)
