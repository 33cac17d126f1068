"""What happened: the one schema of the log, of the batches and of everything shown.

Every class is one event type, `soglia.{name}.v{version}`, in the past tense. `subject` is what it is about,
usually the visit. Fields are pseudonymous ids, plain values and times: no personal data, no credential.
An event carries whatever its readers need, the deadlines it starts included, so that neither `evolve` nor
`react` ever looks at the configuration or the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from gateway.core.model import Clerk, Proof

TYPES: dict[str, type[Event]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base: `at` is the gateway's time of the command that gave rise to it."""

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    about: ClassVar[str] = "visit"  # the field that is the CloudEvent's subject

    at: datetime

    def __init_subclass__(cls) -> None:
        TYPES[cls.type_name()] = cls

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, e.g. `soglia.visit.opened.v1`."""
        return f"soglia.{cls.name}.v{cls.version}"

    @property
    def subject(self) -> str:
        """The visit, or the thing, it is about."""
        return str(getattr(self, self.about))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRef:
    """An alert that stood open: its id and whose topic it went to (None: the floor)."""

    alert: str
    to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitOpened(Event):
    """Somebody arrived. Exactly once per visit. `backup_at`, `pool_at`, `manager_at` start the escalation;
    all three are None for a silent entry (a mere BLE hint)."""

    name = "visit.opened"
    visit: str
    match: str
    reasons: tuple[str, ...]
    zone: str
    proof: Proof | None = None
    visitor: str | None = None
    candidates: tuple[str, ...] = ()
    appointment: str | None = None
    appointment_start: datetime | None = None
    appointment_end: datetime | None = None
    other_appointments: tuple[str, ...] = ()
    clerk: str | None = None
    flags: tuple[str, ...] = ()
    party_size: int = 1
    language: str | None = None
    service: str | None = None
    opened_by: str | None = None
    backup_at: datetime | None = None
    pool_at: datetime | None = None
    manager_at: datetime | None = None
    abandon_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SightingRecorded(Event):
    """A read that joined or opened a visit, with its evidence. `visit` is None for a read too old to act on."""

    name = "sighting.recorded"
    visit: str | None
    reader: str
    zone: str
    technology: str
    credential_kind: str
    proof: Proof
    read: str
    read_time: datetime | None = None
    token: str | None = None
    token_until: datetime | None = None
    flags: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return self.visit or self.reader


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitAlerted(Event):
    """An alert went out: to a clerk (`to`) or to the floor (`to` None). `attempt` counts repeats of one alert."""

    name = "visit.alerted"
    visit: str
    alert: str
    level: str
    to: str | None
    attempt: int
    match: str
    zone: str
    appointment_start: datetime | None = None
    flags: tuple[str, ...] = ()
    redeliver_at: datetime | None = None
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDelivered(Event):
    """A tablet says that it shows the alert."""

    name = "alert.delivered"
    visit: str
    alert: str
    clerk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitEscalated(Event):
    """Nobody answered, or the clerk cannot: the visit moved up to `level`."""

    name = "visit.escalated"
    visit: str
    level: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitAcknowledged(Event):
    """`clerk` is coming: the first one wins. `closed` are the others' alerts, which are now over."""

    name = "visit.acknowledged"
    visit: str
    clerk: str
    closed: tuple[AlertRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitGreeted(Event):
    """`clerk` has met the visitor in person."""

    name = "visit.greeted"
    visit: str
    clerk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitServing(Event):
    """The service has begun."""

    name = "visit.serving"
    visit: str
    clerk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitReassigned(Event):
    """The visit went from one clerk to another (`to` None: to the floor), with a reason."""

    name = "visit.reassigned"
    visit: str
    from_clerk: str | None
    to: str | None
    reason: str
    closed: tuple[AlertRef, ...] = ()
    backup_at: datetime | None = None
    pool_at: datetime | None = None
    manager_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitClosed(Event):
    """The visit is over. A read within `rescan_until` is the same arrival; `forget_at` ends its stay in the state."""

    name = "visit.closed"
    visit: str
    reason: str
    by: str | None = None
    outcome: str | None = None
    closed: tuple[AlertRef, ...] = ()
    rescan_until: datetime
    forget_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentPlanned(Event):
    """An appointment the log had not heard of."""

    name = "appointment.planned"
    about = "appointment"
    appointment: str
    start: datetime
    end: datetime
    visitor: str | None
    clerk: str | None
    record_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentMoved(Event):
    """An appointment the log knew has another time, clerk or visitor."""

    name = "appointment.moved"
    about = "appointment"
    appointment: str
    start: datetime
    end: datetime
    visitor: str | None
    clerk: str | None
    record_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppointmentCancelled(Event):
    """An appointment the log knew will not take place."""

    name = "appointment.cancelled"
    about = "appointment"
    appointment: str
    record_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkRostered(Event):
    """The roster has this clerk, with skills, languages and shifts."""

    name = "clerk.rostered"
    about = "clerk_id"
    clerk: Clerk

    @property
    def clerk_id(self) -> str:
        """The subject."""
        return self.clerk.id


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkRemoved(Event):
    """The roster no longer has this clerk."""

    name = "clerk.removed"
    about = "clerk"
    clerk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkOnShift(Event):
    """The clerk may be alerted; by the roster or by the clerk's own word."""

    name = "clerk.on-shift"
    about = "clerk"
    clerk: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkOffShift(Event):
    """The clerk is not to be alerted."""

    name = "clerk.off-shift"
    about = "clerk"
    clerk: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkPaused(Event):
    """The clerk takes a break."""

    name = "clerk.paused"
    about = "clerk"
    clerk: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRefused(Event):
    """A read that could not be accepted: counted with its reason, never with its credential."""

    name = "read.refused"
    about = "reader"
    reader: str
    technology: str
    reason: str
    read: str | None = None
    zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadUnmatched(Event):
    """A card, tag or beacon of nobody we know: counted only."""

    name = "read.unmatched"
    about = "reader"
    reader: str
    technology: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLost(Event):
    """A reader is unplugged or does not answer."""

    name = "reader.lost"
    about = "reader"
    reader: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderRecovered(Event):
    """A reader works again."""

    name = "reader.recovered"
    about = "reader"
    reader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAdjusted(Event):
    """The wall clock jumped by so many milliseconds."""

    name = "clock.adjusted"
    about = "clock"
    by_milliseconds: int
    trusted: bool = True

    @property
    def clock(self) -> str:
        """The subject."""
        return "clock"
