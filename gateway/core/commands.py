"""What may be asked. A command carries everything its decision needs: the time and what the directory said.

Ids are namespaced by who mints them: `read:{reader}:{id}`, `cmd:{clerk}:{id}`, `dir:{kind}:{id}:{version}`,
`tick:{n}`, `dev:{reader}:{n}`. A repeat of an id is answered with the first outcome and decided once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.core.model import Appointment, Clerk, Finding, Technology


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """`id` is the command's identity; `at` is the gateway's time when it entered."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRead(Command):
    """A reader read something that decodes; `finding` is what the directory said of it."""

    read: str
    reader: str
    zone: str
    technology: Technology
    finding: Finding
    read_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RefuseRead(Command):
    """A reader read something that cannot be accepted: it is counted, and the reader hears why."""

    read: str
    reader: str
    technology: str
    reason: str
    zone: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkAction(Command):
    """A clerk answers an alert or moves a visit on. `action` is a row of the table in `states.py`."""

    clerk: str
    visit: str
    action: str
    alert: str | None = None
    outcome: str | None = None
    to: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveVisitor(Command):
    """A clerk says "she is here" of a visitor who came without any read, or of an unknown walk-in."""

    clerk: str
    zone: str
    finding: Finding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAppointment(Command):
    """The directory has this appointment now (new, moved or cancelled)."""

    appointment: Appointment


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterClerk(Command):
    """The directory has this clerk now; `removed` when it has no longer."""

    clerk: Clerk
    removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SetDuty(Command):
    """A clerk says available, paused or off shift; it holds until the roster's next change."""

    clerk: str
    duty: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReader(Command):
    """A reader's supervisor says that it was lost, or is back."""

    reader: str
    lost: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustClock(Command):
    """The wall clock jumped: by how much, in milliseconds (positive: it was behind)."""

    by_milliseconds: int
    trusted: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick(Command):
    """Time has passed. `subjects` are the visits and clerks whose deadline the shell found due."""

    subjects: tuple[str, ...]
