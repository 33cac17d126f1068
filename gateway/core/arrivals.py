"""A read, or a colleague's word, becomes an arrival: it joins a visit, opens one, or is counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from gateway.core import events as ev
from gateway.core.alerting import first_alerts, ladder, open_alerts
from gateway.core.commands import ReceiveVisitor, RecordRead
from gateway.core.decision import Decision, accepted, refused
from gateway.core.evolve import arrival_keys, visit_of
from gateway.core.matching import Kind, Match, match
from gateway.core.model import Proof, Rules, SingleUse, Technology, derived
from gateway.core.state import State, Visit
from gateway.core.states import ALERTED, ARRIVED

_CLOCK_SET = datetime(2024, 1, 1, tzinfo=UTC)  # a reader's clock that says less has never been set


def record_read(state: State, command: RecordRead, rules: Rules) -> Decision:
    """Decide what a decoded read means."""
    found = match(command.finding, command.at, rules)
    token = command.finding.single_use
    if token is not None and token.id in state.tokens:
        return _refused(
            command, "token-used", "This check-in code has been used already; nobody needs to scan it again."
        )
    if found.kind is Kind.UNKNOWN:
        return _unknown(command)
    quiet = found.kind is Kind.KNOWN and command.technology is Technology.BLE
    visit = _visit_of_arrival(state, found, command.at, rules)
    # What only a beacon had hinted at has alerted nobody: a stronger read takes its place.
    if visit is not None and (quiet or visit.status != ARRIVED):
        return accepted(_sighting(command, visit.id, token), reason="same-arrival")
    if _stale(command, rules):
        # The token stays unused: whoever scanned it then may be at the door now.
        return accepted(_sighting(command, None, None, "stale"), reason="stale-read")
    name = derived("visit", command.id)
    seen = _sighting(command, name, token, *_clock_flag(command))
    opened = _opening(found, name, command, rules, quiet=quiet, proof=command.finding.proof)
    return accepted(*_open(state, opened, found, quiet, rules, seen))


def receive_visitor(state: State, command: ReceiveVisitor, rules: Rules) -> Decision:
    """Decide what it means that a clerk says "she is here"."""
    finding = command.finding
    found = match(finding, command.at, rules) if finding else Match(Kind.UNKNOWN, ("nobody",))
    if (visit := _visit_of_arrival(state, found, command.at, rules)) is not None and visit.open:
        return refused("already-here", f"This visitor is here already: visit {visit.id}.")
    found = replace(found, reasons=(*found.reasons, "seen-by-clerk"))
    opened = _opening(found, derived("visit", command.id), command, rules, opened_by=command.clerk)
    return accepted(*_open(state, opened, found, False, rules))


def _open(
    state: State, opened: ev.VisitOpened, found: Match, quiet: bool, rules: Rules, *sightings: ev.Event
) -> tuple[ev.Event, ...]:
    closing = tuple(_superseded(old, opened.at, rules) for old in _open_visits_of(state, found))
    alerts = [] if quiet else first_alerts(state, visit_of(opened, 0), opened.at, rules)
    return (*closing, opened, *sightings, *alerts)


def _opening(
    found: Match,
    name: str,
    command: RecordRead | ReceiveVisitor,
    rules: Rules,
    *,
    quiet: bool = False,
    proof: Proof | None = None,
    opened_by: str | None = None,
) -> ev.VisitOpened:
    at, planned = command.at, found.appointment
    hint = ("hint",) if proof is Proof.HINT else ()
    # Nobody waits for a visitor who is early: her waiting begins with the appointment's window.
    waits_from = max(at, planned.start - rules.window) if planned and "early" in found.flags else at
    return ev.VisitOpened(
        at=at,
        visit=name,
        match=found.kind.value,
        reasons=found.reasons,
        zone=command.zone,
        proof=proof,
        visitor=found.visitor,
        candidates=found.candidates,
        appointment=planned.id if planned else None,
        appointment_start=planned.start if planned else None,
        appointment_end=planned.end if planned else None,
        other_appointments=found.others,
        clerk=planned.clerk if planned and found.kind is not Kind.KNOWN else None,
        flags=(*found.flags, *hint),
        party_size=planned.party_size if planned else 1,
        language=planned.language if planned else None,
        service=planned.service if planned else None,
        opened_by=opened_by,
        abandon_at=at + rules.abandon,
        **({} if quiet else ladder(waits_from, rules)),
    )


def _visit_of_arrival(state: State, found: Match, at: datetime, rules: Rules) -> Visit | None:
    """The visit this match is part of: an open one, or one closed so recently that it is the same arrival."""
    for visit in _visits_of(state, found):
        if not visit.open and (visit.rescan_until is None or at > visit.rescan_until):
            continue
        if _same_appointment(visit, found):
            return visit
        taken = visit.open and visit.status not in (ARRIVED, ALERTED)
        if visit.appointment is None and taken and at - visit.opened_at <= rules.rescan:
            return visit  # a colleague already looks after the walk-in who turns out to be expected
    return None


def _same_appointment(visit: Visit, found: Match) -> bool:
    if found.kind is not Kind.EXPECTED or found.appointment is None:
        return True
    return found.appointment.id in (visit.appointment, *visit.other_appointments)


def _visits_of(state: State, found: Match) -> list[Visit]:
    appointment = found.appointment.id if found.appointment else None
    keys = arrival_keys(found.visitor, found.candidates, appointment)
    visits = {state.people[key]: state.visits[state.people[key]] for key in keys if key in state.people}
    return sorted(visits.values(), key=lambda visit: (not visit.open, visit.opened_at, visit.id))


def _open_visits_of(state: State, found: Match) -> list[Visit]:
    return [visit for visit in _visits_of(state, found) if visit.open]


def _superseded(visit: Visit, at: datetime, rules: Rules) -> ev.VisitClosed:
    return ev.VisitClosed(
        at=at,
        visit=visit.id,
        reason="superseded",
        closed=open_alerts(visit),
        rescan_until=at,
        forget_at=at + rules.remember,
    )


def _sighting(
    command: RecordRead, visit: str | None, token: SingleUse | None, *flags: str
) -> ev.SightingRecorded:
    return ev.SightingRecorded(
        at=command.at,
        visit=visit,
        reader=command.reader,
        zone=command.zone,
        technology=command.technology.value,
        credential_kind=command.finding.credential_kind,
        proof=command.finding.proof,
        read=command.read,
        read_time=command.read_time,
        token=token.id if token else None,
        token_until=token.until if token else None,
        flags=flags,
    )


def _unknown(command: RecordRead) -> Decision:
    if command.technology is Technology.QR:
        by_token = command.finding.credential_kind == "appointment"
        if by_token:
            return _refused(
                command,
                "unknown-appointment",
                "The code is genuine, but its appointment is not known here yet: please see a clerk.",
            )
        return _refused(command, "unknown-code", "Nobody is registered with this code: please see a clerk.")
    unmatched = ev.ReadUnmatched(
        at=command.at, reader=command.reader, technology=command.technology.value, zone=command.zone
    )
    return accepted(unmatched, reason="unknown-credential")


def _refused(command: RecordRead, reason: str, detail: str) -> Decision:
    event = ev.ReadRefused(
        at=command.at,
        reader=command.reader,
        technology=command.technology.value,
        reason=reason,
        read=command.read,
        zone=command.zone,
    )
    return refused(reason, detail, event)


def _stale(command: RecordRead, rules: Rules) -> bool:
    said = command.read_time
    return said is not None and said >= _CLOCK_SET and command.at - said > rules.rescan


def _clock_flag(command: RecordRead) -> tuple[str, ...]:
    said = command.read_time
    return ("reader-clock-unset",) if said is not None and said < _CLOCK_SET else ()
