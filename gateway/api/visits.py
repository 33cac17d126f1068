"""Visits, appointments and people as a caller may see them.

A name is personal data that never enters the log: it is looked up in the directory at the moment it is shown.
Clerks read the given name; the family name comes with the dossier. Operators read no names at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from gateway.api.auth import Caller
from gateway.api.services import Services
from gateway.core.codec import rfc3339
from gateway.core.state import Visit
from gateway.core.states import may_open_dossier
from gateway.web import words


def store_day(services: Services) -> tuple[date, datetime, datetime]:
    """Today in the store's time zone, and the instants it begins and ends."""
    zone = ZoneInfo(services.rules.time_zone)
    today = services.now().astimezone(zone).date()
    start = datetime(today.year, today.month, today.day, tzinfo=zone)
    after = today + timedelta(days=1)
    return today, start, datetime(after.year, after.month, after.day, tzinfo=zone)


def visit_entry(services: Services, visit: Visit, caller: Caller) -> dict[str, Any]:
    """One visit, for this caller. Reads the directory: call it in a thread."""
    clerk = caller.name if caller.role == "clerk" else None
    shut = may_open_dossier(visit, clerk) if clerk else "scope-insufficient"
    return {
        "visit": visit.id,
        "state": visit.status,
        "match": visit.match,
        "reasons": list(visit.reasons),
        "why": words.why(visit.reasons),
        "assignment": _assignment(services, visit, named=clerk is not None),
        "seq": visit.seq,
        "name": visitor_name(services, visit.visitor, whole=shut is None) if clerk else None,
        "service": visit.service,
        "appointment_start": _time(visit.appointment_start),
        "appointment_end": _time(visit.appointment_end),
        "zone": visit.zone,
        "zone_name": services.zones.get(visit.zone, visit.zone),
        "flags": list(visit.flags),
        "language": visit.language,
        "party_size": visit.party_size,
        "level": visit.level,
        "opened_at": rfc3339(visit.opened_at),
        "greeted_at": _time(visit.greeted_at),
        "closed_at": _time(visit.closed_at),
        "outcome": visit.outcome,
        "alerts": _alerts(visit, clerk),
        "dossier": shut or "open",
    }


def visit_entries(services: Services, caller: Caller, only_open: bool) -> dict[str, Any]:
    """`{"visits", "seq"}`, oldest first. Reads the directory: call it in a thread."""
    seq = services.log.head[0]  # before the state, so that following from here misses nothing
    state = services.engine.state
    visits = [v for v in state.visits.values() if v.open or not only_open]
    visits.sort(key=lambda v: (v.opened_at, v.id))
    return {"visits": [visit_entry(services, v, caller) for v in visits], "seq": seq}


def agenda(services: Services) -> dict[str, Any]:
    """Today's appointments, by start. Reads the directory: call it in a thread."""
    day, start, end = store_day(services)
    visits = {v.appointment: v.id for v in services.engine.state.visits.values() if v.appointment}
    bodies = services.directory.agenda(start, end)
    entries = [_planned(services, body, visits.get(body["id"])) for body in bodies]
    entries.sort(key=lambda entry: datetime.fromisoformat(entry["start"]))
    return {"day": day.isoformat(), "appointments": entries}


def person_name(body: Mapping[str, Any], *, whole: bool) -> str:
    """A visitor's name; without `whole` the given name only, or the family name's initial where there is none."""
    given, family = str(body.get("given_name") or ""), str(body.get("family_name") or "")
    if whole:
        return " ".join(part for part in (given, family) if part)
    return given or (f"{family[0]}." if family else "")


def visitor_name(services: Services, visitor: str | None, *, whole: bool) -> str | None:
    """The directory's name for a visitor, if it has one."""
    body = services.directory.body("visitor", visitor) if visitor else None
    return (person_name(body, whole=whole) or None) if body else None


def clerk_name(services: Services, clerk: str | None) -> str | None:
    """The directory's name for a clerk; the id where it has none."""
    if clerk is None:
        return None
    body = services.directory.body("clerk", clerk)
    return str(body.get("name") or clerk) if body else clerk


def _planned(services: Services, body: Mapping[str, Any], visit: str | None) -> dict[str, Any]:
    return {
        "appointment": body["id"],
        "start": body["start"],
        "end": body["end"],
        "clerk": body.get("clerk"),
        "clerk_name": clerk_name(services, body.get("clerk")),
        "visitor": body.get("visitor"),
        "name": visitor_name(services, body.get("visitor"), whole=False),
        "service": body.get("service"),
        "language": body.get("language"),
        "status": body.get("status", "booked"),
        "visit": visit,
    }


def _assignment(services: Services, visit: Visit, *, named: bool) -> dict[str, str | None]:
    return {
        "clerk": visit.clerk,
        "clerk_name": clerk_name(services, visit.clerk) if named else None,
        "taken_by": visit.assigned,
        "taken_by_name": clerk_name(services, visit.assigned) if named else None,
    }


def _alerts(visit: Visit, clerk: str | None) -> list[dict[str, Any]]:
    return [
        {"alert": a.alert, "level": a.level, "to": a.to, "attempt": a.attempt}
        for a in visit.alerts
        if clerk is not None and a.to in (None, clerk)
    ]


def _time(at: datetime | None) -> str | None:
    return None if at is None else rfc3339(at)
