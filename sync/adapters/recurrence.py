"""The occurrences of one iCalendar series within a window, at a bounded cost.

A rule from outside may repeat every second since 1970, or name a date that never comes, for which the
library would search until the year 9999. So a rule is measured before it is expanded and cut off at the
window's end; and what still takes too long, in processor time, is given up. Both refuse the one series.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from types import FrameType
from typing import Any, Final

import icalendar
import recurring_ical_events

MAX_STEPS: Final = 50_000
MAX_OCCURRENCES: Final = 5_000
MAX_RULES: Final = 10
SERIES_SECONDS: Final = 1.0
_UNIT_SECONDS: Final = {
    "SECONDLY": 1,
    "MINUTELY": 60,
    "HOURLY": 3_600,
    "DAILY": 86_400,
    "WEEKLY": 604_800,
    "MONTHLY": 2_629_800,
    "YEARLY": 31_557_600,
}
# What can multiply the occurrences within one step of a rule, by how much at most.
_MULTIPLIERS: Final = {
    "BYSECOND": 60,
    "BYMINUTE": 60,
    "BYHOUR": 24,
    "BYDAY": 7,
    "BYMONTHDAY": 31,
    "BYYEARDAY": 366,
    "BYWEEKNO": 53,
    "BYMONTH": 12,
}
_LIST_LIMIT: Final = 2_000
_TIMES: Final = ("DTSTART", "DTEND", "RECURRENCE-ID")


class Unusable(Exception):
    """A series that cannot be used; the text is the reason, naming the property."""


class _TooLong(Exception):
    """The processor time of a series is used up."""


def occurrences(events: Sequence[Any], zone: tzinfo, start: datetime, end: datetime) -> list[Any]:
    """The occurrences of one UID's VEVENTs that overlap [start, end], each with its own DTSTART and DTEND.

    Times without a zone are in `zone`. The events given are changed in place.

    Raises:
        Unusable: a rule is broken or costs too much.
    """
    for event in events:
        _localize(event, zone)
        _check_span(event)
        _measure(event, end)
    calendar = icalendar.Calendar()
    for event in events:
        calendar.add_component(event)
    try:
        with _time_limit(SERIES_SECONDS):
            found = recurring_ical_events.of(calendar).between(start.astimezone(UTC), end.astimezone(UTC))
    except _TooLong:
        raise Unusable("RRULE: takes too long to expand; it may name a date that never comes") from None
    if len(found) > MAX_OCCURRENCES:
        raise Unusable(f"RRULE: gives more than {MAX_OCCURRENCES} occurrences")
    return list(found)


def _localize(event: Any, zone: tzinfo) -> None:
    """Give every floating time the store's zone, so that all of a series can be compared."""
    for name in _TIMES:
        value: Any = event.get(name)
        if value is not None and isinstance(value, list):
            raise Unusable(f"{name}: given twice")
        if value is None:
            continue
        moment = value.dt
        if isinstance(moment, datetime) and moment.tzinfo is None:
            _refuse_unknown_zone(name, value)
            value.dt = moment.replace(tzinfo=zone)
    for name in ("EXDATE", "RDATE"):
        for values in _as_list(event.get(name)):
            if len(values.dts) > _LIST_LIMIT:
                raise Unusable(f"{name}: more than {_LIST_LIMIT} dates")
            _refuse_unknown_zone(name, values)
            for value in values.dts:
                value.dt = _with_zone(value.dt, zone)


def _with_zone(value: Any, zone: tzinfo) -> Any:
    if isinstance(value, tuple):
        return tuple(_with_zone(part, zone) for part in value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=zone)
    return value


def _check_span(event: Any) -> None:
    first, last, length = (getattr(event.get(name), "dt", None) for name in ("DTSTART", "DTEND", "DURATION"))
    # The library would swap them.
    if isinstance(first, datetime) and isinstance(last, datetime) and last < first:
        raise Unusable("DTEND: lies before DTSTART")
    if isinstance(length, timedelta) and length < timedelta(0):
        raise Unusable("DURATION: is negative")
    if isinstance(event.get("SEQUENCE"), icalendar.vBroken):
        del event["SEQUENCE"]  # it only orders copies of one event


def _refuse_unknown_zone(name: str, value: Any) -> None:
    # The library gives a time of a zone it does not know as floating: it would be hours off.
    moments = [each.dt for each in getattr(value, "dts", [value])]
    floating = any(isinstance(m, datetime) and m.tzinfo is None for m in moments)
    if "TZID" in value.params and floating:
        raise Unusable(f"{name}: its time zone is not known")


def _measure(event: Any, end: datetime) -> None:
    """Refuse rules that cost too much up to `end`, and give UNTIL a zone where it has none."""
    rules = _as_list(event.get("RRULE"))
    first = getattr(event.get("DTSTART"), "dt", None)
    if not isinstance(first, datetime):
        return
    if len(rules) > MAX_RULES:
        raise Unusable(f"RRULE: more than {MAX_RULES} rules")
    for rule in rules:
        until = _until(rule, first)
        if _steps(rule, first, min(until or end, end)) > MAX_STEPS:
            raise Unusable("RRULE: repeats too often since its start to be expanded")
        if until is not None:
            rule["UNTIL"] = [until.astimezone(UTC)]


def _until(rule: Any, first: datetime) -> datetime | None:
    value = _one(rule, "UNTIL")
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=first.tzinfo)
    if isinstance(value, date):  # a bare date includes that day
        return datetime.combine(value, time(23, 59, 59), tzinfo=first.tzinfo)
    return None


def _steps(rule: Any, first: datetime, until: datetime) -> float:
    unit = _UNIT_SECONDS.get(str(_one(rule, "FREQ") or "").upper())
    if unit is None:
        raise Unusable("RRULE: FREQ is missing or unknown")
    interval = _one(rule, "INTERVAL")
    interval = 1 if interval is None else int(interval)
    if interval < 1:
        raise Unusable("RRULE: INTERVAL is not positive")
    each = 1
    for name, most in _MULTIPLIERS.items():
        each *= min(max(len(_as_list(rule.get(name))), 1), most)
    # No more occurrences than there are seconds; a step with none costs as well.
    span = max((until - first).total_seconds(), 0.0)
    return max(span / (unit * interval), 1.0) * min(each, unit)


def _one(rule: Any, name: str) -> Any:
    values = _as_list(rule.get(name))
    return values[0] if values else None


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise `_TooLong` after so much processor time. Signals reach a process's main thread only: elsewhere the
    caller must bound the whole file, as the calendars' child process does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expired(signum: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, expired)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
