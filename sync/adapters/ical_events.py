"""An iCalendar file as its events, and an event's properties as plain values; one that is broken is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import icalendar

from gateway.core.errors import DecodeError
from sync.adapters.recurrence import Unusable

MAX_EVENTS: Final = 20_000
# What the libraries raise on content they did not expect; anything else is a fault of ours.
LIBRARY_FAULTS: Final = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RecursionError,
    OSError,
)
_NEEDED: Final = (
    "DTSTART",
    "DTEND",
    "DURATION",
    "RRULE",
    "RDATE",
    "EXDATE",
    "RECURRENCE-ID",
    "UID",
    "STATUS",
)
_UNPARSED: Final = re.compile(r"into parts: '([A-Za-z-]+)")


@dataclass(frozen=True, slots=True)
class RawEvent:
    """A VEVENT, its place in the file, and whether the file's METHOD cancels it."""

    number: int
    component: Any
    cancelled: bool

    @property
    def where(self) -> str:
        """Its place, without any of its content."""
        return f"event {self.number}"

    @property
    def uid(self) -> str:
        """Empty where it has none."""
        return str(self.component.get("UID") or "").strip()


def read_events(raw: bytes) -> list[RawEvent]:
    """All VEVENTs, of several calendars too; a bare VEVENT is taken as a calendar of its own.

    Raises:
        DecodeError: `calendar-broken`.
    """
    _check_whole(raw)
    try:
        roots = icalendar.Calendar.from_ical(raw, multiple=True)
    except LIBRARY_FAULTS as error:
        raise _broken(f"it is not iCalendar ({type(error).__name__})") from None
    found: list[RawEvent] = []
    for root in roots:
        cancelled = str(root.get("METHOD", "")).strip().upper() == "CANCEL"
        found += [
            RawEvent(len(found) + n, event, cancelled) for n, event in enumerate(root.walk("VEVENT"), 1)
        ]
    if len(found) > MAX_EVENTS:
        raise _broken(f"it holds more than {MAX_EVENTS} events")
    return found


def _check_whole(raw: bytes) -> None:
    """A file that was cut off must not look like one whose events are gone."""
    text = re.sub(r"\r?\n[ \t]", "", raw.decode("utf-8", errors="replace"))
    stack: list[str] = []
    roots = 0
    for number, line in enumerate(text.splitlines(), 1):
        edge, _, name = line.strip().partition(":")
        name = name.strip().upper()
        if edge.upper() == "BEGIN":
            roots += not stack and name in ("VCALENDAR", "VEVENT")
            stack.append(name)
        elif edge.upper() == "END" and (not stack or stack.pop() != name):
            raise _broken(f"an END without its BEGIN at unfolded line {number}")
    if stack:
        raise _broken(f"it ends within a {stack[-1][:40]}" if stack[-1].isalpha() else "it is cut off")
    if not roots:
        raise _broken("it holds no VCALENDAR")


def lasts_all_day(event: Any) -> bool:
    """Whether it starts on a date, without a time."""
    moment = getattr(event.get("DTSTART"), "dt", None)
    return isinstance(moment, date) and not isinstance(moment, datetime)


def check_needed(event: Any) -> None:
    """Refuse an event a needed property of which could not be read: the library would go on without it."""
    for name, text in event.errors:
        match = _UNPARSED.search(text) if name is None else None
        broken = match[1].upper() if match else str(name or "").upper()
        if broken in _NEEDED:
            raise Unusable(f"{broken}: cannot be read")
    if event.get("DTSTART") is None:
        raise Unusable("DTSTART: missing")


def natural_version(event: Any) -> int:
    """Grows with LAST-MODIFIED (or DTSTAMP, CREATED) and SEQUENCE; 0 where it has none of them."""
    stamp = 0
    for name in ("LAST-MODIFIED", "DTSTAMP", "CREATED"):
        moment = getattr(event.get(name), "dt", None) if _is_sound(event.get(name)) else None
        if isinstance(moment, datetime):
            stamp = max(int(utc(moment).timestamp()), 0)
            break
    sequence = event.get("SEQUENCE")
    return stamp * 1_000 + (min(max(int(sequence), 0), 999) if isinstance(sequence, int) else 0)


def _is_sound(value: Any) -> bool:
    return value is not None and not isinstance(value, (list, icalendar.vBroken))


def utc(moment: date) -> datetime:
    """In UTC.

    Raises:
        Unusable: a date without a time.
    """
    if not isinstance(moment, datetime):
        raise Unusable("DTSTART: a date among times")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def email_of(address: Any) -> str:
    """The e-mail address of an ATTENDEE or ORGANIZER in lower case; empty where it has none."""
    if address is None or isinstance(address, list):
        return ""
    text = str(address).strip()
    plain = text[7:] if text[:7].lower() == "mailto:" else str(address.params.get("EMAIL", text))
    return plain.strip().lower() if "@" in plain else ""


def names_of(common_name: str) -> dict[str, str]:
    """`Bianchi, Anna` or `Anna Bianchi` as `given_name` and `family_name`; a CN that is an address is none."""
    text = " ".join(common_name.split())[:200]
    if not text or "@" in text:
        return {}
    family_first = text.split(",", 1) if text.count(",") == 1 else None
    given, _, family = (f"{family_first[1].strip()} {family_first[0]}" if family_first else text).partition(
        " "
    )
    return {"given_name": given} | ({"family_name": family} if family else {})


def _broken(what: str) -> DecodeError:
    return DecodeError("calendar-broken", f"The calendar cannot be used: {what}; what was known of it stays.")
