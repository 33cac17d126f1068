"""What an event changes: `evolve(state, event, seq) -> state`, one small function per event type."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from gateway.core import events as ev
from gateway.core.assigning import roster_says
from gateway.core.frozen import replace
from gateway.core.state import Alerted, Duty, Planned, Sighted, State, Step, Visit
from gateway.core.states import ACKNOWLEDGED, ALERTED, ARRIVED, CLOSED, GREETED, SERVING
from gateway.core.table import Table

_SIGHTINGS = 20  # of one visit kept in the state; the log has all
_ORDER = ("clerk", "backup", "pool", "manager")


def evolve(state: State, event: ev.Event, seq: int) -> State:
    """The state after `event`, which is number `seq` of the log."""
    step = _STEPS.get(type(event))
    state = step(state, event, seq) if step else state
    day = event.at.date().isoformat()
    return _new_day(state, event.at, day) if day > state.day else state


def visit_of(event: ev.VisitOpened, seq: int) -> Visit:
    """The visit that `event` opens."""
    rungs = (("backup", event.backup_at), ("pool", event.pool_at), ("manager", event.manager_at))
    return Visit(
        id=event.visit,
        status=ARRIVED,
        match=event.match,
        reasons=event.reasons,
        zone=event.zone,
        opened_at=event.at,
        abandon_at=event.abandon_at,
        seq=seq,
        proof=event.proof,
        visitor=event.visitor,
        candidates=event.candidates,
        appointment=event.appointment,
        appointment_start=event.appointment_start,
        appointment_end=event.appointment_end,
        other_appointments=event.other_appointments,
        clerk=event.clerk,
        flags=event.flags,
        party_size=event.party_size,
        language=event.language,
        service=event.service,
        ladder=tuple(Step(level, at) for level, at in rungs if at is not None),
    )


def arrival_keys(
    visitor: str | None, candidates: tuple[str, ...], appointment: str | None
) -> tuple[str, ...]:
    """Under which names an arrival is found again: its visitor or candidates, else its appointment."""
    people = (visitor,) if visitor else candidates
    return people or ((f"appointment:{appointment}",) if appointment else ())


def _opened(state: State, event: ev.VisitOpened, seq: int) -> State:
    visit = visit_of(event, seq)
    people = state.people
    for key in arrival_keys(visit.visitor, visit.candidates, visit.appointment):
        people = people.with_(key, visit.id)
    return replace(state, visits=state.visits.with_(visit.id, visit), people=people)


def _sighted(state: State, event: ev.SightingRecorded, seq: int) -> State:
    if event.token is not None and event.token_until is not None:
        state = replace(state, tokens=state.tokens.with_(event.token, event.token_until))
    visit = state.visits.get(event.visit) if event.visit else None
    if visit is None:
        return state
    sighted = Sighted(event.at, event.reader, event.zone, event.technology, event.proof, event.read)
    return _put(state, replace(visit, sightings=(*visit.sightings, sighted)[-_SIGHTINGS:], seq=seq))


def _alerted(state: State, event: ev.VisitAlerted, seq: int) -> State:
    visit = state.visits[event.visit]
    alert = Alerted(event.alert, event.level, event.to, event.attempt, event.redeliver_at)
    others = tuple(a for a in visit.alerts if a.alert != event.alert)
    visit = replace(
        visit,
        status=ALERTED if visit.status == ARRIVED else visit.status,
        alerts=(*others, alert),
        level=_higher(visit.level, event.level),
        alerted_at=visit.alerted_at or event.at,
        seq=seq,
    )
    return _assigned_now(_put(state, visit), event.to, event.at)


def _delivered(state: State, event: ev.AlertDelivered, seq: int) -> State:
    visit = state.visits[event.visit]
    alerts = tuple(replace(a, redeliver_at=None) if a.alert == event.alert else a for a in visit.alerts)
    return _put(state, replace(visit, alerts=alerts, seq=seq))


def _escalated(state: State, event: ev.VisitEscalated, seq: int) -> State:
    visit = state.visits[event.visit]
    reached = _ORDER.index(event.level)
    ladder = tuple(step for step in visit.ladder if _ORDER.index(step.level) > reached)
    return _put(state, replace(visit, ladder=ladder, level=_higher(visit.level, event.level), seq=seq))


def _acknowledged(state: State, event: ev.VisitAcknowledged, seq: int) -> State:
    visit = state.visits[event.visit]
    visit = replace(
        visit,
        status=ACKNOWLEDGED,
        assigned=event.clerk,
        acknowledged_at=event.at,
        alerts=_without(visit, event.closed),
        ladder=(),
        seq=seq,
    )
    return _has_visit(_put(state, _calm(visit)), event.clerk, visit.id, True)


def _greeted(state: State, event: ev.VisitGreeted, seq: int) -> State:
    visit = state.visits[event.visit]
    return _put(state, replace(visit, status=GREETED, greeted_at=event.at, seq=seq))


def _serving(state: State, event: ev.VisitServing, seq: int) -> State:
    visit = state.visits[event.visit]
    greeted = visit.greeted_at or event.at  # whoever serves a person has seen her
    return _put(state, replace(visit, status=SERVING, greeted_at=greeted, seq=seq))


def _reassigned(state: State, event: ev.VisitReassigned, seq: int) -> State:
    visit = state.visits[event.visit]
    rungs = (("backup", event.backup_at), ("pool", event.pool_at), ("manager", event.manager_at))
    refused = (*visit.refused_by, event.from_clerk) if event.from_clerk else visit.refused_by
    if visit.assigned is not None:
        state = _has_visit(state, visit.assigned, visit.id, False)
    visit = replace(
        visit,
        status=ALERTED,
        assigned=None,
        level=None,
        refused_by=refused,  # with repeats: its length is the round that the alerts' ids are made of
        alerts=_without(visit, event.closed),
        ladder=tuple(Step(level, at) for level, at in rungs if at is not None),
        seq=seq,
    )
    return _put(state, visit)


def _closed(state: State, event: ev.VisitClosed, seq: int) -> State:
    visit = state.visits[event.visit]
    if visit.assigned is not None:
        state = _has_visit(state, visit.assigned, visit.id, False)
    visit = replace(
        _calm(visit),
        status=CLOSED,
        ladder=(),
        closed_at=event.at,
        outcome=event.outcome,
        close_reason=event.reason,
        rescan_until=event.rescan_until,
        forget_at=event.forget_at,
        seq=seq,
    )
    return _put(state, visit)


def _planned(state: State, event: ev.AppointmentPlanned | ev.AppointmentMoved, seq: int) -> State:
    planned = Planned(
        event.appointment,
        event.start,
        event.end,
        event.visitor,
        event.clerk,
        event.record_version,
        cancelled=False,
    )
    return replace(state, appointments=state.appointments.with_(event.appointment, planned))


def _cancelled(state: State, event: ev.AppointmentCancelled, seq: int) -> State:
    planned = replace(state.appointments[event.appointment], cancelled=True, version=event.record_version)
    return replace(state, appointments=state.appointments.with_(event.appointment, planned))


def _rostered(state: State, event: ev.ClerkRostered, seq: int) -> State:
    known = state.clerks.get(event.clerk.id)
    fresh = Duty(event.clerk, "off", event.at)
    duty = replace(known, clerk=event.clerk, since=event.at) if known else fresh
    duty = duty if duty.duty == "paused" else replace(duty, duty=roster_says(duty, event.at))
    return _put_duty(state, duty)


def _removed(state: State, event: ev.ClerkRemoved, seq: int) -> State:
    return replace(state, clerks=state.clerks.without(event.clerk))


def _duty(duty: str) -> Callable[[State, ev.ClerkOnShift | ev.ClerkOffShift | ev.ClerkPaused, int], State]:
    def step(state: State, event: ev.ClerkOnShift | ev.ClerkOffShift | ev.ClerkPaused, seq: int) -> State:
        return _put_duty(state, replace(state.clerks[event.clerk], duty=duty, since=event.at))

    return step


def _reader_lost(state: State, event: ev.ReaderLost, seq: int) -> State:
    return replace(state, readers=state.readers.with_(event.reader, event.reason or "lost"))


def _reader_recovered(state: State, event: ev.ReaderRecovered, seq: int) -> State:
    return replace(state, readers=state.readers.without(event.reader))


_STEPS: dict[type[ev.Event], Callable[[State, Any, int], State]] = {
    ev.VisitOpened: _opened,
    ev.SightingRecorded: _sighted,
    ev.VisitAlerted: _alerted,
    ev.AlertDelivered: _delivered,
    ev.VisitEscalated: _escalated,
    ev.VisitAcknowledged: _acknowledged,
    ev.VisitGreeted: _greeted,
    ev.VisitServing: _serving,
    ev.VisitReassigned: _reassigned,
    ev.VisitClosed: _closed,
    ev.AppointmentPlanned: _planned,
    ev.AppointmentMoved: _planned,
    ev.AppointmentCancelled: _cancelled,
    ev.ClerkRostered: _rostered,
    ev.ClerkRemoved: _removed,
    ev.ClerkOnShift: _duty("on"),
    ev.ClerkOffShift: _duty("off"),
    ev.ClerkPaused: _duty("paused"),
    ev.ReaderLost: _reader_lost,
    ev.ReaderRecovered: _reader_recovered,
}


def _put(state: State, visit: Visit) -> State:
    return replace(state, visits=state.visits.with_(visit.id, visit))


def _put_duty(state: State, duty: Duty) -> State:
    """The state with `duty`; nothing waits to be repeated to a clerk who is not on duty."""
    state = replace(state, clerks=state.clerks.with_(duty.clerk.id, duty))
    if duty.duty == "on":
        return state
    for visit in state.open_visits():
        if any(a.to == duty.clerk.id for a in visit.alerts):
            state = _put(state, _calm(visit, duty.clerk.id))
    return state


def _calm(visit: Visit, clerk: str | None = None) -> Visit:
    """The visit with no alert (or none to `clerk`) waiting to be repeated."""
    calm = (replace(a, redeliver_at=None) if clerk in (None, a.to) else a for a in visit.alerts)
    return replace(visit, alerts=tuple(calm))


def _without(visit: Visit, closed: tuple[ev.AlertRef, ...]) -> tuple[Alerted, ...]:
    gone = {ref.alert for ref in closed}
    return tuple(a for a in visit.alerts if a.alert not in gone)


def _higher(old: str | None, new: str) -> str:
    return new if old is None or _ORDER.index(new) >= _ORDER.index(old) else old


def _assigned_now(state: State, clerk: str | None, at: datetime) -> State:
    duty = state.clerks.get(clerk) if clerk else None
    if duty is None:
        return state
    return replace(state, clerks=state.clerks.with_(duty.clerk.id, replace(duty, last_assigned=at)))


def _has_visit(state: State, clerk: str, visit: str, has: bool) -> State:
    if (duty := state.clerks.get(clerk)) is None:
        return state
    rest = tuple(v for v in duty.visits if v != visit)
    busier = replace(duty, visits=(*rest, visit) if has else rest)
    return replace(state, clerks=state.clerks.with_(clerk, busier))


def _new_day(state: State, at: datetime, day: str) -> State:
    """Once a day the state lets go of what no decision needs any more."""
    visits = {k: v for k, v in state.visits.items() if v.forget_at is None or v.forget_at > at}
    yesterday = at - timedelta(days=1)
    return replace(
        state,
        day=day,
        visits=Table(visits),
        people=Table({k: v for k, v in state.people.items() if v in visits}),
        appointments=Table({k: a for k, a in state.appointments.items() if a.end > yesterday}),
        tokens=Table({k: until for k, until in state.tokens.items() if until > at}),
    )
