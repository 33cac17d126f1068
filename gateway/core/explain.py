"""Why this visitor, this appointment, this clerk: a visit's events told in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gateway.core import events as ev
from gateway.core.codec import rfc3339
from gateway.core.matching import REASONS

_CREDENTIALS = {
    "appointment": "signed check-in token",
    "booking-code": "booking code",
    "loyalty": "loyalty card",
    "nfc-uid": "card",
    "epc": "RFID tag",
    "ibeacon": "beacon",
}
_PROOFS = {
    "proven": "proven",
    "held": "held: whoever has it may use it",
    "hint": "only a hint: it can be copied",
}


def explain(events: Iterable[tuple[int, ev.Event]]) -> list[str]:
    """One line per event of a visit, oldest first, each with its time and sequence number."""
    told = list(events)
    credential = next((e.credential_kind for _, e in told if isinstance(e, ev.SightingRecorded)), "")
    lines = []
    for seq, event in told:
        teller = _TELLERS.get(type(event))
        text = teller(event, credential) if teller else event.type_name()
        lines.append(f"{rfc3339(event.at)}  #{seq}  {text}")
    return lines


def _opened(event: ev.VisitOpened, credential: str) -> str:
    who = f"visitor {event.visitor}" if event.visitor else "a visitor we cannot name"
    if event.candidates:
        who = f"one of {', '.join(event.candidates)}"
    words = _CREDENTIALS.get(credential, "credential")
    why = " ".join(REASONS.get(r, r).format(credential=words) for r in event.reasons)
    meant = f", appointment {event.appointment}" if event.appointment else ""
    clerk = f" with {event.clerk}" if event.clerk else ""
    return f"{who} arrived at {event.zone}: {event.match}{meant}{clerk}. {why}"


def _sighted(event: ev.SightingRecorded, credential: str) -> str:
    kind = _CREDENTIALS.get(event.credential_kind, event.credential_kind)
    said = f", read at {rfc3339(event.read_time)} by the reader's clock" if event.read_time else ""
    return f"evidence: {kind} by {event.technology} on {event.reader} ({_PROOFS[event.proof]}), read {event.read}{said}"


def _alerted(event: ev.VisitAlerted, credential: str) -> str:
    to = event.to or "everybody on the floor"
    again = f", attempt {event.attempt}" if event.attempt > 1 else ""
    return f"alerted {to} as {event.level}{again}"


_WHY_UP = {
    "no-acknowledgement": "nobody answered in time",
    "clerk-off-shift": "the appointment's clerk is not on shift",
    "nobody-free": "no clerk is free",
    "refused": "the clerk refused",
}

_TELLERS: dict[type[ev.Event], Callable[[Any, str], str]] = {
    ev.VisitOpened: _opened,
    ev.SightingRecorded: _sighted,
    ev.VisitAlerted: _alerted,
    ev.AlertDelivered: lambda e, _: f"{e.clerk}'s tablet shows the alert",
    ev.VisitEscalated: lambda e, _: f"escalated to {e.level}: {_WHY_UP.get(e.reason, e.reason)}",
    ev.VisitAcknowledged: lambda e, _: f"{e.clerk} is coming: the first to answer",
    ev.VisitGreeted: lambda e, _: f"{e.clerk} greeted the visitor",
    ev.VisitServing: lambda e, _: f"{e.clerk} serves the visitor",
    ev.VisitReassigned: lambda e, _: f"{e.from_clerk} passed the visit to {e.to or 'the floor'}: {e.reason}",
    ev.VisitClosed: lambda e, _: f"closed: {e.reason}" + (f", {e.outcome}" if e.outcome else ""),
}
