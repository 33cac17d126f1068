"""`decide(state, command, rules) -> Decision`: the only place where a command becomes events. Pure."""

from __future__ import annotations

from datetime import timedelta

from gateway.core import commands as cmd
from gateway.core import events as ev
from gateway.core.alerting import open_alerts, overdue
from gateway.core.arrivals import receive_visitor, record_read
from gateway.core.assigning import roster_says
from gateway.core.clerking import act
from gateway.core.decision import Decision, accepted, refused
from gateway.core.evolve import evolve
from gateway.core.model import Clerk, Rules
from gateway.core.state import Duty, State
from gateway.core.timers import CLERK, deadline_of

_DUTIES = {"available": ev.ClerkOnShift, "paused": ev.ClerkPaused, "off-shift": ev.ClerkOffShift}


def decide(state: State, command: cmd.Command, rules: Rules) -> Decision:
    """What `command` leads to in `state`. Refused commands lead to nothing but their receipt."""
    match command:
        case cmd.RecordRead():
            return record_read(state, command, rules)
        case cmd.ClerkAction():
            return act(state, command, rules)
        case cmd.ReceiveVisitor():
            return receive_visitor(state, command, rules)
        case cmd.Tick():
            return _tick(state, command, rules)
        case cmd.RefuseRead():
            return _refuse_read(command)
        case cmd.PlanAppointment():
            return _plan(state, command)
        case cmd.RosterClerk():
            return _roster(state, command)
        case cmd.SetDuty():
            return _set_duty(state, command)
        case cmd.ReportReader():
            return _report_reader(state, command)
        case cmd.AdjustClock():
            by, trusted = command.by_milliseconds, command.trusted
            return accepted(ev.ClockAdjusted(at=command.at, by_milliseconds=by, trusted=trusted))
    raise TypeError(f"no rule for {type(command).__name__}")


def _tick(state: State, command: cmd.Tick, rules: Rules) -> Decision:
    events: list[ev.Event] = []
    # Clerks first, and each subject in the light of the ones before: nobody whose shift ends now is alerted.
    for subject in sorted(command.subjects, key=lambda name: not name.startswith(CLERK)):
        due = deadline_of(state, subject)
        if due is None or due > command.at:
            continue
        if subject.startswith(CLERK):
            found = [_shift_change(state.clerks[subject.removeprefix(CLERK)], command)]
        else:
            found = _visit_due(state, subject, command, rules)
        for event in found:
            state = evolve(state, event, 0)
        events += found
    return accepted(*events)


def _visit_due(state: State, name: str, command: cmd.Tick, rules: Rules) -> list[ev.Event]:
    visit = state.visits[name]
    if visit.abandon_at > command.at:
        return overdue(state, visit, command.at, rules)
    return [
        ev.VisitClosed(
            at=command.at,
            visit=name,
            reason="timeout",
            closed=open_alerts(visit),
            rescan_until=command.at,
            forget_at=command.at + rules.remember,
        )
    ]


def _shift_change(duty: Duty, command: cmd.Tick) -> ev.Event:
    kind = ev.ClerkOnShift if roster_says(duty, command.at) == "on" else ev.ClerkOffShift
    return kind(at=command.at, clerk=duty.clerk.id, reason="roster")


def _refuse_read(command: cmd.RefuseRead) -> Decision:
    event = ev.ReadRefused(
        at=command.at,
        reader=command.reader,
        technology=command.technology,
        reason=command.reason,
        read=command.read,
        zone=command.zone,
    )
    return refused(command.reason, "The read was refused.", event)


def _plan(state: State, command: cmd.PlanAppointment) -> Decision:
    wanted = command.appointment
    known = state.appointments.get(wanted.id)
    if known is not None and known.version >= wanted.version:
        return accepted()
    if wanted.status != "booked":
        if known is None or known.cancelled:
            return accepted()
        return accepted(
            ev.AppointmentCancelled(at=command.at, appointment=wanted.id, record_version=wanted.version)
        )
    if wanted.end < command.at - timedelta(days=1):
        return accepted()
    if known is not None and not known.cancelled:
        kind: type[ev.AppointmentMoved] | type[ev.AppointmentPlanned] = ev.AppointmentMoved
        same = (known.start, known.end, known.visitor, known.clerk)
        if same == (wanted.start, wanted.end, wanted.visitor, wanted.clerk):
            return accepted()
    else:
        kind = ev.AppointmentPlanned
    return accepted(
        kind(
            at=command.at,
            appointment=wanted.id,
            start=wanted.start,
            end=wanted.end,
            visitor=wanted.visitor,
            clerk=wanted.clerk,
            record_version=wanted.version,
        )
    )


def _roster(state: State, command: cmd.RosterClerk) -> Decision:
    clerk: Clerk = command.clerk
    known = state.clerks.get(clerk.id)
    if command.removed:
        return accepted(ev.ClerkRemoved(at=command.at, clerk=clerk.id)) if known else accepted()
    if known is not None and known.clerk == clerk:
        return accepted()
    return accepted(ev.ClerkRostered(at=command.at, clerk=clerk))


def _set_duty(state: State, command: cmd.SetDuty) -> Decision:
    if command.clerk not in state.clerks:
        return refused(
            "unknown-clerk", "The roster does not know this clerk: the platform has to send her record first."
        )
    if (kind := _DUTIES.get(command.duty)) is None:
        return refused("unknown-status", f"Use one of {', '.join(_DUTIES)}.")
    return accepted(kind(at=command.at, clerk=command.clerk, reason="self"))


def _report_reader(state: State, command: cmd.ReportReader) -> Decision:
    known_lost = command.reader in state.readers
    if command.lost == known_lost:
        return accepted()
    if command.lost:
        return accepted(ev.ReaderLost(at=command.at, reader=command.reader, reason=command.reason))
    return accepted(ev.ReaderRecovered(at=command.at, reader=command.reader))
