"""An iCalendar file (RFC 5545) as directory records, for a window of time.

The file is a state, not a message: what it no longer holds is cancelled. Ids are keyed hashes of the feed,
the UID and, in a series, of the original start, so that an event which moves keeps its id. A version is
LAST-MODIFIED (or DTSTAMP, CREATED) in seconds times 1,000 plus SEQUENCE; when the content changed and that
did not grow, the last version plus one. `known` is what the caller kept of the last reading.

One event that cannot be used is a problem of its own and keeps what was known of it; a file that is broken
as a whole is refused and changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from gateway.shell.records import canonical_json
from sync.adapters.ical_events import (
    LIBRARY_FAULTS,
    RawEvent,
    check_needed,
    email_of,
    lasts_all_day,
    names_of,
    natural_version,
    read_events,
    utc,
)
from sync.adapters.identity import Identify
from sync.adapters.recurrence import Unusable, occurrences

SOURCE: Final = "icalendar"
DAYS_AHEAD: Final = 60
_REMEMBERED: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Feed:
    """A calendar as it is configured. `clerk`: whose calendar it is; else the organizer's e-mail address is
    looked up in `clerks`, in any case."""

    name: str
    store: str
    time_zone: str
    clerk: str | None = None
    clerks: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is kept of an appointment from one reading to the next. `series` is the hash of its UID, `start`
    RFC 3339 in UTC."""

    version: int
    digest: str
    series: str
    start: str
    end: str
    cancelled: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """Why an event gave no record: `where` names it by its place in the file, never by its content."""

    where: str
    text: str


@dataclass(slots=True)
class Mapped:
    """The records of a file; `seen` is to be kept for the next reading."""

    records: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)


def records(
    raw: bytes,
    feed: Feed,
    now: datetime,
    identify: Identify,
    known: Mapping[str, Seen],
    days_ahead: int = DAYS_AHEAD,
) -> Mapped:
    """Appointments from yesterday to `days_ahead`, their visitors, and cancellations of future ones now gone.

    Raises:
        DecodeError: `calendar-broken`: the file cannot be read as a whole.
    """
    reading = _Reading(feed, now, now + timedelta(days=days_ahead), identify, known)
    events = read_events(raw)
    for series in _series(events):
        reading.take(series)
    if not events:
        reading.mapped.skipped.append(Remark("the calendar", "holds no event"))
    reading.cancel_vanished()
    return reading.mapped


def _series(events: Sequence[RawEvent]) -> Iterator[list[RawEvent]]:
    """Events of one UID together; one without a UID stands alone."""
    groups: dict[str, list[RawEvent]] = {}
    for event in events:
        groups.setdefault(event.uid or f"\0{event.number}", []).append(event)
    yield from groups.values()


class _Reading:
    """One pass over a file."""

    def __init__(
        self, feed: Feed, now: datetime, end: datetime, identify: Identify, known: Mapping[str, Seen]
    ) -> None:
        self.mapped = Mapped()
        self._feed = feed
        self._zone = ZoneInfo(feed.time_zone)
        self._now, self._end = now, end
        self._identify = identify
        self._known = known
        self._clerks = {email.strip().lower(): clerk for email, clerk in feed.clerks.items()}
        self._kept_series: set[str] = set()

    def take(self, events: list[RawEvent]) -> None:
        """All events of one UID."""
        uid = events[0].uid
        series = self._identify(f"ical:{self._feed.name}:{uid}") if uid else ""
        try:
            self._take_usable(events, series)
        except Unusable as error:
            self._problem(events[0], series, str(error))
        except LIBRARY_FAULTS as error:
            self._problem(events[0], series, f"cannot be read ({type(error).__name__})")

    def _problem(self, event: RawEvent, series: str, text: str) -> None:
        self.mapped.problems.append(Remark(event.where, text))
        self._kept_series.add(series)

    def _take_usable(self, events: list[RawEvent], series: str) -> None:
        for event in events:
            check_needed(event.component)
        timed = [event for event in events if not self._skipped(event)]
        if not timed:
            return
        series = series or self._nameless(timed[0])
        cancelled = any(event.cancelled for event in timed)
        components = [event.component for event in timed]
        repeats = any(name in each for each in components for name in ("RRULE", "RDATE", "RECURRENCE-ID"))
        drafts: dict[str, dict[str, Any]] = {}
        for each in occurrences(components, self._zone, self._now - timedelta(days=1), self._end):
            visitor = self._visitor(each)
            start = utc(each["DTSTART"].dt)
            id_ = self._id(series, start, utc(each["RECURRENCE-ID"].dt) if repeats else None, drafts)
            drafts[id_] = self._draft(each, id_, visitor, cancelled)
            if visitor and drafts[id_]["status"] == "booked":
                drafts.setdefault(visitor["id"], visitor)
        # Only now, when nothing of the series can fail any more.
        for draft in drafts.values():
            self._keep(draft, series if draft["kind"] == "appointment" else "")

    def _nameless(self, event: RawEvent) -> str:
        """For an event without a UID, against the RFC: known by its start and title, so a move is another."""
        mark = (event.component["DTSTART"].to_ical(), str(event.component.get("SUMMARY", "")))
        return self._identify(f"ical:{self._feed.name}:{mark}")

    def _skipped(self, event: RawEvent) -> bool:
        if lasts_all_day(event.component):
            self.mapped.skipped.append(Remark(event.where, "lasts all day, so it is not an appointment"))
            return True
        return False

    def _id(
        self, series: str, start: datetime, original: datetime | None, taken: Mapping[str, object]
    ) -> str:
        if original is None:
            return series
        id_ = self._identify(f"{series}:{original.isoformat()}")
        if id_ in taken:  # RANGE=THISANDFUTURE gives later occurrences the original start of the first
            return self._identify(f"{series}:{start.isoformat()}:moved")
        return id_

    def _draft(self, event: Any, id_: str, visitor: dict[str, Any] | None, cancelled: bool) -> dict[str, Any]:
        gone = cancelled or str(event.get("STATUS", "")).strip().upper() == "CANCELLED"
        record = {
            "kind": "appointment",
            "id": id_,
            "version": natural_version(event),
            "start": utc(event["DTSTART"].dt).isoformat(),
            "end": utc(event["DTEND"].dt).isoformat(),
            "status": "cancelled" if gone else "booked",
            "store": self._feed.store,
            "source": SOURCE,
        }
        optional = {"clerk": self._clerk(event), "visitor": visitor["id"] if visitor else None}
        return record | {key: value for key, value in optional.items() if value}

    def _clerk(self, event: Any) -> str | None:
        return self._feed.clerk or self._clerks.get(email_of(event.get("ORGANIZER")))

    def _visitor(self, event: Any) -> dict[str, Any] | None:
        """The first attendee who is neither the organizer, a clerk, a room, nor has declined."""
        attendees = event.get("ATTENDEE")
        organizer = email_of(event.get("ORGANIZER"))
        for attendee in attendees if isinstance(attendees, list) else [attendees]:
            email = email_of(attendee)
            params = getattr(attendee, "params", {})
            declined = str(params.get("PARTSTAT", "")).upper() == "DECLINED"
            thing = str(params.get("CUTYPE", "INDIVIDUAL")).upper() in ("ROOM", "RESOURCE")
            if not email or email == organizer or email in self._clerks or declined or thing:
                continue
            head = {
                "kind": "visitor",
                "id": self._identify(f"mailto:{email}"),
                "version": natural_version(event),
            }
            return head | names_of(str(params.get("CN", "")))
        return None

    def _keep(self, draft: dict[str, Any], series: str) -> None:
        if draft["id"] in self.mapped.seen:  # a visitor of several events
            return
        natural = draft.pop("version")
        digest = _digest(draft)
        known = self._known.get(draft["id"])
        if known is None:
            version = natural
        elif known.digest == digest:
            version = known.version
        else:
            version = max(natural, known.version + 1)
        self.mapped.records.append(draft | {"version": version})
        cancelled = draft.get("status") == "cancelled"
        span = draft.get("start", self._now.isoformat()), draft.get("end", "")
        self.mapped.seen[draft["id"]] = Seen(version, digest, series, *span, cancelled)

    def cancel_vanished(self) -> None:
        """Future appointments of the last reading which this one does not hold, unless it could not tell."""
        for id_, seen in self._known.items():
            start = datetime.fromisoformat(seen.start)
            if id_ in self.mapped.seen or start < self._now - _REMEMBERED:
                continue
            self.mapped.seen[id_] = seen  # its version must not be forgotten: it may come back
            # Of a broken event without a UID we cannot say which one it was.
            unsure = seen.series in self._kept_series or "" in self._kept_series
            if seen.series and not seen.cancelled and not unsure and self._now <= start <= self._end:
                self._cancel(id_, seen)

    def _cancel(self, id_: str, seen: Seen) -> None:
        gone = {"kind": "appointment", "id": id_, "start": seen.start, "end": seen.end, "status": "cancelled"}
        body = gone | {"store": self._feed.store, "source": SOURCE}
        version = seen.version + 1
        self.mapped.records.append(body | {"version": version})
        self.mapped.seen[id_] = replace(seen, version=version, digest=_digest(body), cancelled=True)


def _digest(draft: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical_json(draft).encode()).hexdigest()[:32]
