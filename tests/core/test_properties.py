"""Whatever happens in a store, and whatever nonsense is asked: what must hold all the same.

The orders are those of `tests/transcripts/story.py`, so a failing example reads as a story and can be kept as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import commands as cmd
from gateway.core import events as ev
from gateway.core.chain import seal, unseal
from gateway.core.decide import decide
from gateway.core.evolve import evolve
from gateway.core.model import Rules
from gateway.core.react import react
from gateway.core.receipts import Outcome
from gateway.core.state import State, Visit, digest, from_bytes, to_bytes
from gateway.core.states import STATUSES
from gateway.core.table import Table
from gateway.core.timers import CLERK, deadline_of, next_deadline
from gateway.shell.deadlines import Deadlines
from tests.transcripts.story import Story

# What may still be said of a visit that is over.
AFTERWARDS = (ev.SightingRecorded, ev.AlertDelivered)


class WatchedStory(Story):
    """A story that checks every decision it takes. `restart`: the twin goes on from a snapshot, the heap from scratch."""

    def __init__(self) -> None:
        super().__init__()
        self.twin = State()  # fed from stored bytes, restarted from a snapshot at will
        self.heap = Deadlines(self.state)
        self.opened: set[str] = set()

    def restart(self) -> None:
        self.twin = from_bytes(to_bytes(self.twin))
        self.heap = Deadlines(self.state)

    def _submit(self, command: cmd.Command, *, receipt: bool = True) -> Iterator[str]:
        before = self.state
        due = self._due(command)
        decision = decide(before, command, self.rules)
        assert decision == decide(other_history(before), command, self.rules)
        if decision.outcome is Outcome.REFUSED and not isinstance(command, cmd.RecordRead | cmd.RefuseRead):
            assert decision.events == ()
        for event in decision.events:
            self._watch(event)
            self.log.append(event)
            self.state = evolve(self.state, event, len(self.log))
            stored = seal(event, seq=len(self.log), prev_hash="0" * 64, store="s", epoch="e")
            self.twin = evolve(self.twin, unseal(stored.body), len(self.log))
            self._touch(event.subject)
            yield f"{event.subject} {getattr(event, 'alert', '')}"  # which names them visit-1, alert-1 …
        assert digest(self.twin) == digest(self.state)
        if decision.outcome is Outcome.REFUSED and self.state.day == before.day:
            assert self.state.visits == before.visits
            assert self.state.clerks == before.clerks
        for subject, was_due in due.items():
            is_due = deadline_of(self.state, subject)
            assert is_due is None or is_due > max(was_due, command.at), f"{subject} is due again at once"
            self.heap.touch(self.state, subject)
        assert self.heap.next(self.state) == next_deadline(self.state)

    def _due(self, command: cmd.Command) -> dict[str, datetime]:
        subjects = command.subjects if isinstance(command, cmd.Tick) else ()
        return {s: due for s in subjects if (due := deadline_of(self.state, s)) and due <= command.at}

    def _touch(self, subject: str) -> None:
        """As the engine does."""
        self.heap.touch(self.state, subject if subject in self.state.visits else f"{CLERK}{subject}")

    def _watch(self, event: ev.Event) -> None:
        if isinstance(event, ev.VisitOpened):
            assert event.visit not in self.opened, "a visit opens once"
            self.opened.add(event.visit)
        elif event.subject in self.opened and isinstance(event, ev.Event) and event.about == "visit":
            visit = self.state.visits[event.subject]
            assert visit.open or isinstance(event, AFTERWARDS), f"{event.name} after the visit's close"
            self._watch_visit(visit, event)
        for notice in react(event, len(self.log) + 1):
            assert "v-" not in str(notice.data), "the floor's messages name no visitor"

    def _watch_visit(self, visit: Visit, event: ev.Event) -> None:
        if isinstance(event, ev.VisitAlerted):
            assert visit.assigned is None, "nobody is called to a visit that has been taken"
            duty = self.state.clerks.get(event.to) if event.to else None
            assert duty is None or duty.duty == "on", f"{event.to} is {duty and duty.duty}, yet alerted"
            same = [a for a in visit.alerts if a.alert == event.alert]
            assert event.attempt == (same[0].attempt + 1 if same else 1)
            if event.attempt == 1:
                assert event.alert not in {e.alert for e in self.log if isinstance(e, ev.VisitAlerted)}
        if isinstance(event, ev.VisitAcknowledged):
            assert visit.assigned is None, "the first to come wins"
        if isinstance(event, ev.VisitGreeted | ev.VisitServing):
            assert visit.assigned == event.clerk, "only she who has the visit moves it"
        if isinstance(event, ev.VisitAcknowledged | ev.VisitReassigned | ev.VisitClosed):
            assert {ref.alert for ref in event.closed} <= {a.alert for a in visit.alerts}, (
                "an alert closes once"
            )


def other_history(state: State) -> State:
    """The same state, its tables filled in another order."""
    names = ("visits", "people", "appointments", "clerks", "tokens", "readers")
    tables: dict[str, Any] = {n: Table(dict(reversed([*getattr(state, n).items()]))) for n in names}
    return replace(state, **tables)


# Few names and few instants, so that things happen to one another.
clerks = st.sampled_from(["c1", "c1", "c2", "c2", "c3", "stranger"])
visitors = st.sampled_from(["v-1", "v-1", "v-2"])
appointments = st.sampled_from(["a-1", "a-1", "a-2"])
visits = st.sampled_from(["visit-1", "visit-1", "visit-2", "visit-2", "visit-3", "visit-4", "visit-5"])
alerts = st.sampled_from(["", "", "alert=alert-1", "alert=alert-2"])
hours = st.sampled_from(["08:30", "09:56", "09:57", "10:00", "10:01", "10:02", "10:30", "12:00", "1d09:30"])
shifts = st.lists(st.tuples(hours, hours).map(sorted).map("-".join), max_size=2).map(",".join)
seconds = st.sampled_from([0, 1, 1, 4, 5, 5, 6, 55, 55, 60, 60, 61, 115, 120, 300, 900, 901, 43_200, 90_000])
readings = st.one_of(
    st.builds("qr token={}{}".format, appointments, st.sampled_from(["", " once=t-1", " once=t-2"])),
    st.builds("qr code={}".format, appointments),
    st.builds(
        "{}={}".format, st.sampled_from(["qr loyalty", "nfc card", "ble beacon", "rfid tag"]), visitors
    ),
    st.sampled_from(["nfc card=v-1,v-2", "nfc card=nobody", "qr loyalty=nobody", "qr token=a-9"]),
)
said = st.sampled_from(["", "", "", " said=08:00", " said=1970-01-01T00:00:00+00:00", " said=23:00"])
actions = st.sampled_from(
    [
        "coming",
        "coming",
        "greeted",
        "serving",
        "done",
        "done outcome=sold",
        "done outcome=nonsense",
        "not_here",
        "pass to=c1 reason=why",
        "pass to=c2 reason=why",
        "pass to=stranger reason=why",
        "pass",
        "refuse reason=why",
        "refuse",
        "delivered",
        "undo",
    ]
)


def _action(clerk: str, action: str, visit: str, alert: str) -> str:
    verb, *options = action.split()
    return " ".join([f"{clerk}:", verb, visit, *options, alert])


orders = st.one_of(
    st.builds("wait {}s".format, seconds),
    st.builds("wait {}s".format, seconds),
    st.builds("read {}{}".format, readings, said),
    st.builds("read {}{}".format, readings, said),
    st.builds(_action, clerks, actions, visits, alerts),
    st.builds(_action, clerks, actions, visits, alerts),
    st.builds(_action, clerks, actions, visits, alerts),
    st.builds("duty {} {}".format, clerks, st.sampled_from(["available", "paused", "off-shift"])),
    st.builds("asleep +{}s".format, seconds),
    st.builds(
        "appointment {} visitor={} clerk={} start={} end=11:00".format, appointments, visitors, clerks, hours
    ),
    st.builds("appointment {} status={}".format, appointments, st.sampled_from(["cancelled", "booked"])),
    st.builds("roster {} roles={}".format, clerks, st.sampled_from(["clerk", "manager", "clerk,manager"])),
    st.builds("roster {} shifts={}".format, clerks, shifts),
    st.builds("unroster {}".format, clerks),
    st.builds("{}: here {}".format, clerks, st.one_of(visitors, st.just("nobody"))),
    st.sampled_from(
        [
            "bad qr reason=unreadable",
            "reader door-1 lost",
            "reader door-1 back",
            "clock -5000",
            "duty c1 asleep",
        ]
    ),
    st.just("restart"),
)
START = [
    "roster c1 shifts=08:30-09:56,09:57-10:02",
    "roster c2",
    "appointment a-1 visitor=v-1 clerk=c1 start=10:00",
    "at 09:55",
    "read qr token=a-1",
]


@pytest.mark.timeout(1_200)  # the fuzz profile takes some minutes
@given(st.lists(orders, min_size=25, max_size=40))
def test_any_day(day: list[str]) -> None:
    story = WatchedStory()
    for order in START + day:
        if order == "restart":
            story.restart()
        else:
            list(story.obey(order))
    story.check()
    assert {v.status for v in story.state.visits.values()} <= set(STATUSES)
    visits = [e.visit for e in story.log if isinstance(e, ev.VisitOpened)]
    assert len(visits) == len(set(visits))


def test_the_watch_sees_a_wrong_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clerk who is off shift and yet alerted would be noticed."""
    monkeypatch.setattr("gateway.core.alerting.on_duty", lambda state, clerk: True)
    story = WatchedStory()
    for order in ("roster c1 shifts=10:00-11:00", "appointment a-1 visitor=v-1 clerk=c1 start=09:00"):
        list(story.obey(order))
    with pytest.raises(AssertionError, match="c1 is off, yet alerted"):
        list(story.obey("read qr token=a-1"))


# -- the escalation against a dumb twin that looks at the clock every second

Alert = tuple[int, str, str | None, int]


def ladder_by_the_second(
    rules: Rules, on_shift: bool, backups: int, managers: int, delivered: dict[str, int], taken: int
) -> list[Alert]:
    """Who must be alerted when, as (second, level, to, attempt), until somebody takes the visit."""
    wait, backup, pool, manager = (int(d.total_seconds()) for d in _steps(rules))
    told: list[Alert] = []
    attempts: dict[tuple[str, str], int] = {}
    unseen: dict[tuple[str, str], int] = {}
    left = [f"backup{n}" for n in range(backups)]
    on_the_floor = False

    def call(second: int, level: str, to: str | None, again: bool = False) -> None:
        if to is None:
            told.append((second, level, None, 1))
            return
        attempts[level, to] = attempts.get((level, to), 0) + 1
        told.append((second, level, to, attempts[level, to]))
        unseen.pop((level, to), None)
        if not again:
            unseen[level, to] = second + wait

    def back_up(second: int) -> bool:
        for level, to in list(attempts):
            call(second, level, to)
        call(second, "backup", left.pop(0)) if left else call(second, "pool", None)
        return bool(told[-1][1] == "pool")

    for second in range(taken + 1):
        if second == 0 and on_shift:
            call(0, "clerk", "marco")
        if second == (backup if on_shift else 0):
            on_the_floor = back_up(second)
        if second == pool and not on_the_floor:
            call(second, "pool", None)
        if second == manager:
            for n in range(managers):
                call(second, "manager", f"manager{n}")
            if managers == 0:
                call(second, "manager", None)
        for (level, to), due in list(unseen.items()):
            if due <= second:
                call(second, level, to, again=True)
        for to, when in delivered.items():
            if when == second:
                unseen = {key: due for key, due in unseen.items() if key[1] != to}
    return told


def _steps(rules: Rules) -> tuple[timedelta, timedelta, timedelta, timedelta]:
    return rules.delivered, rules.backup, rules.pool, rules.manager


small = st.integers(1, 12)


@given(
    steps=st.tuples(small, small, small, small),
    on_shift=st.booleans(),
    backups=st.integers(0, 2),
    managers=st.integers(0, 2),
    delivered=st.dictionaries(st.sampled_from(["marco", "backup0", "manager0"]), st.integers(0, 45)),
    taken=st.integers(0, 60),
)
def test_the_escalation_is_the_dumb_twins(
    steps: tuple[int, int, int, int],
    on_shift: bool,
    backups: int,
    managers: int,
    delivered: dict[str, int],
    taken: int,
) -> None:
    sums = [timedelta(seconds=sum(steps[:n])) for n in (1, 2, 3, 4)]
    rules = Rules(delivered=sums[0], backup=sums[1], pool=sums[2], manager=sums[3])
    story = Story(rules)
    lines = [f"roster marco shifts={'09:00-18:00' if on_shift else '14:00-18:00'}"]
    lines += [f"roster backup{n}" for n in range(backups)]
    lines += [f"roster manager{n} roles=manager" for n in range(managers)]
    lines += ["appointment a-1", "at 10:00", "read qr token=a-1"]
    said = sorted((when, to) for to, when in delivered.items() if when <= taken)
    for order in lines:
        list(story.obey(order))
    start = story.now
    for when, to in said:
        list(story.obey(f"wait {when - int((story.now - start).total_seconds())}s"))
        list(story.obey(f"{to}: delivered visit-1"))
    list(story.obey(f"wait {taken - int((story.now - start).total_seconds())}s"))
    list(story.obey("marco: coming visit-1"))
    list(story.obey("wait 3600s"))
    told = [
        (int((e.at - start).total_seconds()), e.level, e.to, e.attempt)
        for e in story.log
        if isinstance(e, ev.VisitAlerted)
    ]
    wanted = ladder_by_the_second(rules, on_shift, backups, managers, delivered, taken)
    assert sorted(told, key=str) == sorted(wanted, key=str)
    assert [second for second, *_ in told] == sorted(second for second, *_ in told)
