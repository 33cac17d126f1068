"""What the gateway knows now: a pure function of the log.

The state is immutable. Whoever holds a reference may read it from any thread and for as long as it likes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime

from gateway.core.codec import restore
from gateway.core.model import Clerk, Proof
from gateway.core.table import Table
from gateway.core.writer import quoted, written


@dataclass(frozen=True, slots=True)
class Alerted:
    """One alert of a visit: its level, whose topic it went to (None: the floor), and how often."""

    alert: str
    level: str
    to: str | None
    attempt: int
    redeliver_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A rung of the escalation that has not been reached: `backup`, `pool` or `manager`, and when."""

    level: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Sighted:
    """One read of a visit, as evidence."""

    at: datetime
    reader: str
    zone: str
    technology: str
    proof: Proof
    read: str


@dataclass(frozen=True, slots=True)
class Visit:
    """An actual stay. `clerk` is who the appointment is with, `assigned` who has said "coming"."""

    id: str
    status: str  # arrived, alerted, acknowledged, greeted, serving, closed: see states.py
    match: str  # expected, known, ambiguous, unknown
    reasons: tuple[str, ...]
    zone: str
    opened_at: datetime
    abandon_at: datetime
    seq: int = 0
    proof: Proof | None = None
    visitor: str | None = None
    candidates: tuple[str, ...] = ()
    appointment: str | None = None
    appointment_start: datetime | None = None
    appointment_end: datetime | None = None
    other_appointments: tuple[str, ...] = ()
    clerk: str | None = None
    assigned: str | None = None
    level: str | None = None
    flags: tuple[str, ...] = ()
    party_size: int = 1
    language: str | None = None
    service: str | None = None
    alerts: tuple[Alerted, ...] = ()
    ladder: tuple[Step, ...] = ()
    sightings: tuple[Sighted, ...] = ()
    refused_by: tuple[str, ...] = ()
    alerted_at: datetime | None = None
    acknowledged_at: datetime | None = None
    greeted_at: datetime | None = None
    closed_at: datetime | None = None
    outcome: str | None = None
    close_reason: str | None = None
    rescan_until: datetime | None = None
    forget_at: datetime | None = None

    @property
    def open(self) -> bool:
        """Whether the visitor is still being looked after."""
        return self.status != "closed"


@dataclass(frozen=True, slots=True)
class Planned:
    """An appointment, as far as timers and reports need it."""

    id: str
    start: datetime
    end: datetime
    visitor: str | None
    clerk: str | None
    version: int
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Duty:
    """A clerk and whether she may be alerted: `on`, `off` or `paused`, `since` when; `visits` are the open ones she has."""

    clerk: Clerk
    duty: str
    since: datetime
    last_assigned: datetime | None = None
    visits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """The whole state. `people` maps a visitor to her newest visit; `tokens` are the single-use ids already used."""

    day: str = ""  # the last event's date in UTC, YYYY-MM-DD
    visits: Table[Visit] = field(default_factory=Table)
    people: Table[str] = field(default_factory=Table)
    appointments: Table[Planned] = field(default_factory=Table)
    clerks: Table[Duty] = field(default_factory=Table)
    tokens: Table[datetime] = field(default_factory=Table)
    readers: Table[str] = field(default_factory=Table)  # reader -> why it is lost

    def open_visits(self) -> list[Visit]:
        """The visits that are not closed, oldest first."""
        return sorted((v for v in self.visits.values() if v.open), key=lambda v: (v.opened_at, v.id))


def to_bytes(state: State) -> bytes:
    """The state as canonical JSON: equal states give equal bytes."""
    return "".join(pieces(state)).encode()


def pieces(state: State) -> Iterator[str]:
    """The same text a little at a time, for whoever must not keep others waiting."""
    begin = "{"
    for name in sorted(each.name for each in fields(State)):
        value = getattr(state, name)
        yield f"{begin}{quoted(name)}:"
        if isinstance(value, Table):
            yield "{"
            for number, (key, entry) in enumerate(value.items()):
                yield f"{',' if number else ''}{quoted(key)}:{written(entry)}"
            yield "}"
        else:
            yield written(value)
        begin = ","
    yield "}"


def from_bytes(text: bytes) -> State:
    """The state that `to_bytes` wrote.

    Raises:
        ValueError, KeyError, TypeError: it is not one.
    """
    state = restore(State, json.loads(text))
    assert isinstance(state, State)
    return state


def digest(state: State) -> str:
    """SHA-256 of the state's canonical JSON, in hex: what `soglia replay` prints."""
    return hashlib.sha256(to_bytes(state)).hexdigest()
