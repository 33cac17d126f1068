"""cal.com webhooks as directory records (payload version 2021-10-20).

Source of the format: cal.com's webhook guide. A reschedule gives the booking a new uid: the old appointment
is cancelled with `moved_to`, so that the visitor's old QR still leads to the new one, and the new one is
planned. A record's version is the webhook's `createdAt` in milliseconds, times 100, plus `iCalSequence`:
a webhook delivered late or again is stale or unchanged. E-mail addresses, phone numbers, notes, answers and
meeting links never leave this module; a booker's id is a keyed hash of the e-mail address.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.core.errors import DecodeError, Refused
from gateway.core.model import is_id
from gateway.shell.records import parse_time
from gateway.shell.strict_json import Problem, load_object
from sync.adapters.identity import Identify

SOURCE: Final = "cal.com"

_IGNORED: Final = {
    "BOOKING_PAID": "a payment does not change an appointment",
    "BOOKING_PAYMENT_INITIATED": "a payment does not change an appointment",
    "BOOKING_REQUESTED": "a request becomes an appointment once it is confirmed",
    "BOOKING_REJECTED": "a rejected request never was an appointment",
    "BOOKING_NO_SHOW_UPDATED": "a no-show is for the clerk in the store to say",
    "MEETING_STARTED": "the visit's course comes from the store floor",
    "MEETING_ENDED": "the visit's course comes from the store floor",
    "OOO_CREATED": "shifts come from the roster",
    "FORM_SUBMITTED": "a form is no appointment",
    "INSTANT_MEETING": "a video call is no visit",
    "RECORDING_READY": "a recording is no appointment",
    "RECORDING_TRANSCRIPTION_GENERATED": "a recording is no appointment",
    "PING": "a test call",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Mapped:
    """The records of one webhook, or why there are none."""

    trigger: str
    records: list[dict[str, Any]] = field(default_factory=list)
    ignored: str | None = None


def verify_signature(secret: bytes, raw_body: bytes, header: str | None) -> None:
    """Check `X-Cal-Signature-256`: the HMAC-SHA256 of the raw body in hexadecimal, in constant time.

    Raises:
        Refused: `signature-invalid`.
    """
    expected = hmac.new(secret, raw_body, hashlib.sha256).hexdigest()
    given = (header or "").strip().lower()
    if not secret or not hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace")):
        raise Refused(
            "signature-invalid",
            "The webhook's signature does not match: give cal.com the secret that is configured here.",
        )


def decode(raw_body: bytes) -> dict[str, Any]:
    """The webhook's JSON.

    Raises:
        DecodeError: `webhook-broken`.
    """
    try:
        return load_object(raw_body)
    except Problem as problem:
        raise _broken("the body", str(problem)) from None


def records(body: Mapping[str, Any], store: str, clerks: Mapping[str, str], identify: Identify) -> Mapped:
    """The records of one webhook, and with none of them the reason.

    `clerks` maps organizers' e-mail addresses, in any case, to clerk ids; an organizer who is not there
    gives an appointment without a clerk.

    Raises:
        DecodeError: `webhook-broken`, naming the field.
    """
    trigger = _text(body, "triggerEvent")
    if trigger not in ("BOOKING_CREATED", "BOOKING_RESCHEDULED", "BOOKING_CANCELLED"):
        return Mapped(trigger[:64], ignored=_IGNORED.get(trigger, "this event is not one of appointments"))
    payload = body.get("payload", body)
    if not isinstance(payload, Mapping):
        raise _broken("payload", "not an object")
    reason = _not_ours(trigger, payload)
    if reason:
        return Mapped(trigger, ignored=reason)
    booking = _Booking(payload, _version(body, payload), store, clerks, identify)
    if trigger == "BOOKING_CANCELLED" or _status(payload) in ("CANCELLED", "REJECTED"):
        return Mapped(trigger, [booking.appointment("cancelled")])
    found = [booking.visitor(), booking.appointment("booked")]
    if trigger == "BOOKING_RESCHEDULED":
        found[1:1] = booking.replaced()
    return Mapped(trigger, found)


def _not_ours(trigger: str, payload: Mapping[str, Any]) -> str | None:
    if payload.get("seatsPerTimeSlot"):
        return "an event with seats holds several parties under one id, which is not supported"
    if _status(payload) == "PENDING" and trigger != "BOOKING_CANCELLED":
        return "a request becomes an appointment once it is confirmed"
    return None


@dataclass(frozen=True, slots=True)
class _Booking:
    payload: Mapping[str, Any]
    version: int
    store: str
    clerks: Mapping[str, str]
    identify: Identify

    def visitor(self) -> dict[str, Any]:
        """The booker, who is the first attendee."""
        booker = self._attendees()[0]
        given, family = _names(booker)
        record: dict[str, Any] = {"kind": "visitor", "id": self._visitor_id(), "version": self.version}
        named = (("given_name", given), ("family_name", family), ("language", _language(booker)))
        return record | {key: value for key, value in named if value} | {"source": SOURCE}

    def appointment(self, status: str) -> dict[str, Any]:
        """The booking itself."""
        attendees = self._attendees()
        start, end = self._span("startTime", "endTime")
        record = {
            "kind": "appointment",
            "id": self._id(_text(self.payload, "uid")),
            "version": self.version,
            "visitor": self._visitor_id(),
            "start": start,
            "end": end,
            "status": status,
            "store": self.store,
            "party_size": min(len(attendees), 1000),
            "source": SOURCE,
        }
        optional = {
            "clerk": self._clerk(),
            "service": _short(self.payload.get("eventTitle") or self.payload.get("type")),
            "language": _language(attendees[0]),
            "moved_from": self._old_id() if status == "booked" else None,
        }
        return record | {key: value for key, value in optional.items() if value}

    def replaced(self) -> list[dict[str, Any]]:
        """The appointment under its old uid, cancelled; none where cal.com does not name it."""
        old, new = self._old_id(), self._id(_text(self.payload, "uid"))
        if old is None or old == new:
            return []
        head = {"kind": "appointment", "id": old, "version": self.version}
        if self.payload.get("rescheduleStartTime") is None:
            return [head | {"deleted": True}]
        start, end = self._span("rescheduleStartTime", "rescheduleEndTime")
        kept = {"visitor": self._visitor_id(), "start": start, "end": end, "status": "cancelled"}
        return [head | kept | {"store": self.store, "moved_to": new, "source": SOURCE}]

    def _old_id(self) -> str | None:
        old = self.payload.get("rescheduleUid") or self.payload.get("fromReschedule")
        return self._id(old) if isinstance(old, str) and old else None

    def _id(self, uid: str) -> str:
        return uid if is_id(uid) else self.identify(f"calcom:uid:{uid}")

    def _visitor_id(self) -> str:
        return self.identify(f"mailto:{_email(self._attendees()[0], 'attendees.0.email')}")

    def _attendees(self) -> Sequence[Mapping[str, Any]]:
        attendees = self.payload.get("attendees")
        if not isinstance(attendees, list) or not attendees:
            raise _broken("attendees", "nobody is booked")
        if not all(isinstance(each, Mapping) for each in attendees):
            raise _broken("attendees", "not a list of people")
        return attendees

    def _span(self, first: str, last: str) -> tuple[str, str]:
        start, end = _time(self.payload, first), _time(self.payload, last)
        if end < start:
            raise _broken(last, f"lies before {first}")
        return start.isoformat(), end.isoformat()

    def _clerk(self) -> str | None:
        known = {email.strip().lower(): clerk for email, clerk in self.clerks.items()}
        team = self.payload.get("team")
        members = team.get("members") if isinstance(team, Mapping) else None
        hosts = [self.payload.get("organizer"), *_listed(members), *_listed(self.payload.get("hosts"))]
        for host in hosts:
            email = host.get("email") if isinstance(host, Mapping) else None
            if isinstance(email, str) and email.strip().lower() in known:
                return known[email.strip().lower()]
        return None


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _status(payload: Mapping[str, Any]) -> str:
    status = payload.get("status")
    return status.upper() if isinstance(status, str) else ""


def _version(body: Mapping[str, Any], payload: Mapping[str, Any]) -> int:
    created = _time(body, "createdAt")
    sequence = payload.get("iCalSequence")
    extra = sequence if isinstance(sequence, int) and not isinstance(sequence, bool) else 0
    milliseconds = (created - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds < 0:
        raise _broken("createdAt", "lies before 1970")
    return milliseconds * 100 + min(max(extra, 0), 99)


def _names(person: Mapping[str, Any]) -> tuple[str | None, str | None]:
    given, family = _short(person.get("firstName")), _short(person.get("lastName"))
    whole = _short(person.get("name"))
    if given or family or whole is None or "@" in whole:
        return given, family
    head, _, tail = whole.partition(" ")
    return head, tail.strip() or None


def _language(person: Mapping[str, Any]) -> str | None:
    language = person.get("language")
    locale = language.get("locale") if isinstance(language, Mapping) else person.get("locale")
    return locale if isinstance(locale, str) and 0 < len(locale) <= 35 else None


def _short(value: object) -> str | None:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return text[:200] or None


def _email(person: Mapping[str, Any], field_name: str) -> str:
    email = person.get("email")
    if not isinstance(email, str) or "@" not in email:
        raise _broken(field_name, "not an e-mail address")
    return email.strip().lower()


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise _broken(name, "missing" if value is None else "not a text")
    return value


def _time(body: Mapping[str, Any], name: str) -> datetime:
    if body.get(name) is None:
        raise _broken(name, "missing")
    try:
        return parse_time(body[name])
    except ValueError as error:
        raise _broken(name, str(error)) from None


def _broken(name: str, problem: str) -> DecodeError:
    return DecodeError("webhook-broken", f"The cal.com webhook cannot be used: {name}: {problem}.")
