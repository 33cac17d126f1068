"""Who is this, and is she expected? A pure rule over what the directory said.

| Match     | when                                                                                        |
|-----------|---------------------------------------------------------------------------------------------|
| Expected  | a token or booking code names an appointment of today, at most `late` past its start; or     |
|           | the one owner of another credential has an appointment that starts within `window` of now    |
| Ambiguous | several visitors own the credential, or the only appointment is wider than `window`: a clerk |
|           | has to ask                                                                                   |
| Known     | we know the visitor, but no appointment of hers is meant (none, cancelled, too late, another |
|           | day or store)                                                                                |
| Unknown   | nobody we know                                                                               |

Of several appointments in the window the nearest start counts and the others are listed. The windows come from
the BC Gov queue-management system and Qmatic-like peers; they are the store's to configure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from gateway.core.model import Appointment, Finding, Rules


class Kind(StrEnum):
    """How sure we are."""

    EXPECTED = "expected"
    KNOWN = "known"
    AMBIGUOUS = "ambiguous"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Match:
    """The answer, with its `reasons` (slugs of `REASONS`) and `flags` for the clerk."""

    kind: Kind
    reasons: tuple[str, ...]
    visitor: str | None = None
    appointment: Appointment | None = None
    others: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


REASONS = {
    "named-by-token": "The signed check-in token names this appointment.",
    "named-by-code": "The booking code names this appointment.",
    "owner": "The {credential} belongs to this visitor and to nobody else.",
    "shared-credential": "The {credential} belongs to several visitors.",
    "one-owner-expected": "Of its owners, only this visitor has an appointment now.",
    "in-window": "The appointment starts within the window around the arrival.",
    "nearest": "Of several appointments in the window, this one starts nearest.",
    "early": "She is early: the appointment starts later today.",
    "late": "She is late, but not too late.",
    "too-late": "The appointment began too long ago: counted as a walk-in that keeps its history.",
    "outside-window": "The appointment is today, but not near enough to be sure: please ask.",
    "other-day": "The appointment is on another day.",
    "cancelled": "The appointment was cancelled.",
    "other-store": "The appointment is at another store.",
    "no-appointment": "She has no appointment today.",
    "nobody": "Nobody we know.",
    "seen-by-clerk": "A colleague saw her come in.",
}


def match(finding: Finding, at: datetime, rules: Rules) -> Match:
    """Match a sighting to a visitor and an appointment, at the instant `at`."""
    if finding.named is not None:
        return _match_named(finding, at, rules)
    if not finding.owners:
        return Match(Kind.UNKNOWN, ("nobody",))
    live = [a for a in finding.appointments if a.status == "booked" and _here(a, rules)]
    near = _by_distance([a for a in live if abs(a.start - at) <= rules.window], at)
    if len(finding.owners) == 1:
        return _match_owner(finding.owners[0], ("owner",), near, live, at, rules)
    expected = {a.visitor for a in near}
    if len(expected) == 1 and (visitor := expected.pop()) is not None:
        reasons = ("shared-credential", "one-owner-expected")
        return _match_owner(visitor, reasons, near, live, at, rules)
    return Match(
        Kind.AMBIGUOUS,
        ("shared-credential",),
        candidates=tuple(sorted(finding.owners)),
        appointment=near[0] if near else None,
        others=tuple(a.id for a in near[1:]),
    )


def _match_named(finding: Finding, at: datetime, rules: Rules) -> Match:
    named = next((a for a in finding.appointments if a.id == finding.named), None)
    if named is None:
        return Match(Kind.UNKNOWN, ("nobody",))
    how = "named-by-token" if finding.credential_kind == "appointment" else "named-by-code"
    others = tuple(
        a.id
        for a in finding.appointments
        if a.id != named.id and a.status == "booked" and _here(a, rules) and abs(a.start - at) <= rules.window
    )
    if (why_not := _not_meant(named, at, rules)) is not None:
        flags = ("late",) if why_not == "too-late" else (why_not,)
        return Match(Kind.KNOWN, (how, why_not), named.visitor, named, others, flags=flags)
    timing = _timing(named, at, rules)
    return Match(
        Kind.EXPECTED, (how, timing or "in-window"), named.visitor, named, others, flags=_flag(timing)
    )


def _match_owner(
    visitor: str,
    reasons: tuple[str, ...],
    near: Sequence[Appointment],
    live: Sequence[Appointment],
    at: datetime,
    rules: Rules,
) -> Match:
    mine = [a for a in near if a.visitor == visitor]
    if mine:
        timing = _timing(mine[0], at, rules)
        several = ("nearest",) if len(mine) > 1 else ()
        others = tuple(a.id for a in mine[1:])
        reasons = (*reasons, "in-window", *several)
        return Match(Kind.EXPECTED, reasons, visitor, mine[0], others, flags=_flag(timing))
    today = [a for a in live if a.visitor == visitor and _same_day(a.start, at, rules)]
    for appointment in _by_distance(today, at):
        if at - appointment.start > rules.late:
            reasons = (*reasons, "too-late")
            return Match(Kind.KNOWN, reasons, visitor, appointment, flags=("late",))
        timing = _timing(appointment, at, rules)
        reasons = (*reasons, "outside-window")
        return Match(Kind.AMBIGUOUS, reasons, visitor, appointment, flags=_flag(timing))
    return Match(Kind.KNOWN, (*reasons, "no-appointment"), visitor)


def _not_meant(appointment: Appointment, at: datetime, rules: Rules) -> str | None:
    """Why a named appointment is not the one she comes for now, or None."""
    if not _here(appointment, rules):
        return "other-store"
    if appointment.status != "booked":
        return "cancelled"
    if not _same_day(appointment.start, at, rules):
        return "other-day"
    return "too-late" if at - appointment.start > rules.late else None


def _timing(appointment: Appointment, at: datetime, rules: Rules) -> str | None:
    if appointment.start - at > rules.window:
        return "early"
    return "late" if at - appointment.start > rules.late_flag else None


def _flag(timing: str | None) -> tuple[str, ...]:
    return (timing,) if timing else ()


def _here(appointment: Appointment, rules: Rules) -> bool:
    return appointment.store in (None, rules.store)


def _same_day(one: datetime, other: datetime, rules: Rules) -> bool:
    zone = ZoneInfo(rules.time_zone)
    return one.astimezone(zone).date() == other.astimezone(zone).date()


def _by_distance(appointments: Sequence[Appointment], at: datetime) -> list[Appointment]:
    return sorted(appointments, key=lambda a: (abs(a.start - at), a.start, a.id))
