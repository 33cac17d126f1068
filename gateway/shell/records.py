"""The schema of directory records: one JSON object a line, as the platform and the adapters give them.

A record has `kind`, `id` and a `version` that grows; unknown fields are kept and passed on, an unknown
`kind` is a problem of its line. Times are RFC 3339 with an offset. A problem is one sentence that names the
field and what is wrong, and never repeats the value: `start: not an RFC 3339 time with an offset`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gateway.core.model import Shift, is_id
from gateway.shell.strict_json import MAX_INTEGER, Problem, load_object

KINDS: Final = ("appointment", "clerk", "product", "visitor")
CANCELLED: Final = frozenset({"cancelled", "canceled"})

_RFC3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(?P<fraction>\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_IBEACON = re.compile(r"([0-9A-F]{32}):(\d{1,5}):(\d{1,5})")
_UUID_PARTS = (8, 12, 16, 20)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))


def parse_time(text: object) -> datetime:
    """An RFC 3339 time with an offset, in UTC.

    Raises:
        ValueError: it is none, or lies outside the years a calendar can hold.
    """
    match = _RFC3339.fullmatch(text) if isinstance(text, str) and len(text) <= 64 else None
    if match is None:
        raise ValueError("not an RFC 3339 time with an offset")
    assert isinstance(text, str)
    plain = text.upper().replace(" ", "T")
    fraction = match["fraction"]
    if fraction:  # digits beyond the microsecond cannot be held
        plain = plain.replace(fraction, fraction[:7], 1)
    try:
        return datetime.fromisoformat(plain).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("not a time that exists") from None


def canonical_credential(kind: str, value: str) -> str:
    """The one spelling under which a credential is digested and looked up.

    Raises:
        ValueError: the value is not of its kind (an NFC UID that is not hexadecimal).
    """
    text = value.strip()
    if kind in ("nfc-uid", "epc"):
        return _hexadecimal(text)
    if kind == "ibeacon":
        match = _IBEACON.fullmatch(text.upper().replace("-", ""))
        if match is None:
            raise ValueError("not an iBeacon as UUID:major:minor")
        digits = match[1]
        cuts = (0, *_UUID_PARTS, 32)
        uuid = "-".join(digits[a:b] for a, b in pairwise(cuts))
        return f"{uuid}:{int(match[2])}:{int(match[3])}"
    if kind == "booking-code":
        return text.upper()
    return text


def _hexadecimal(text: str) -> str:
    try:
        digits = bytes.fromhex(text.replace(":", "").replace("-", "").replace(" ", ""))
    except ValueError:
        raise ValueError("not pairs of hexadecimal digits") from None
    if not digits:
        raise ValueError("not pairs of hexadecimal digits")
    return digits.hex().upper()


def _checked_id(text: str) -> str:
    if not is_id(text):
        raise ValueError("an id has 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return text


Id = Annotated[str, AfterValidator(_checked_id)]
Time = Annotated[datetime, BeforeValidator(parse_time)]
Text = Annotated[str, StringConstraints(max_length=1000)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=128)]


class Part(BaseModel):
    """Whatever is inside a record: fields we do not know are kept."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Record(Part):
    """What every record has."""

    kind: str
    id: Id
    version: Annotated[int, Field(ge=0, le=MAX_INTEGER)]


class TombstoneRecord(Record):
    """The thing is gone; a version at or below this one stays stale."""

    deleted: Literal[True]


class ShiftPart(Part):
    """A stretch of work."""

    start: Time
    end: Time

    def as_shift(self) -> Shift:
        """The core's own."""
        return Shift(self.start, self.end)


class ClerkRecord(Record):
    """Who may be alerted. No `shifts` means always on shift."""

    name: Text | None = None
    languages: list[Word] = []
    skills: list[Word] = []
    zone: Word | None = None
    roles: list[Word] = ["clerk"]
    shifts: list[ShiftPart] | None = None


class CredentialPart(Part):
    """What identifies a visitor: `kind` as the decoders name it, `value` in any usual spelling (checked when
    it is digested)."""

    kind: Word
    value: Annotated[str, StringConstraints(min_length=1, max_length=512)]


class ConsentPart(Part):
    """What the visitor allows."""

    purpose: Word
    granted: bool
    at: Time | None = None


class TouchpointPart(Part):
    """One step of the journey, on any channel, known to us or not."""

    id: Text | None = None
    channel: Text | None = None
    type: Text | None = None
    at: Time | None = None


class VisitorRecord(Record):
    """A person under a pseudonym, with what she let us know."""

    given_name: Text | None = None
    family_name: Text | None = None
    language: Word | None = None
    credentials: Annotated[list[CredentialPart], Field(max_length=100)] = []
    consent: list[ConsentPart] = []
    touchpoints: list[TouchpointPart] = []


class AppointmentRecord(Record):
    """A planned meeting. `moved_to` names the appointment that took its place."""

    visitor: Id | None = None
    clerk: Id | None = None
    start: Time
    end: Time
    status: Literal[
        "booked", "pending", "arrived", "checked-in", "fulfilled", "noshow", "cancelled", "canceled"
    ] = "booked"
    store: Id | None = None
    service: Text | None = None
    code: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = None
    party_size: Annotated[int, Field(ge=1, le=1000)] = 1
    language: Word | None = None
    source: Text | None = None
    moved_to: Id | None = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> AppointmentRecord:
        if self.end < self.start:
            raise ValueError("end: lies before start")
        return self


class ProductRecord(Record):
    """An article of the catalogue."""

    name: Text | None = None
    gtin: Annotated[str, StringConstraints(pattern=r"^[0-9]{8,14}$")] | None = None
    variants: list[dict[str, Any]] = []


_SCHEMAS: Final[dict[str, type[Record]]] = {
    "clerk": ClerkRecord,
    "visitor": VisitorRecord,
    "appointment": AppointmentRecord,
    "product": ProductRecord,
}


def parse_line(line: bytes) -> tuple[Record, dict[str, Any]]:
    """One line as its checked record and as the object it was.

    Raises:
        Problem: with the sentence for its sender.
    """
    body = load_object(line)
    return check(body), body


def parse_mapping(record: Mapping[str, Any]) -> tuple[Record, dict[str, Any]]:
    """The same for a record that an adapter made: it passes through JSON, so nothing else can get in.

    Raises:
        Problem: with the sentence for its sender.
    """
    try:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Problem(f"cannot be written as JSON ({type(error).__name__})") from None
    return parse_line(line)


def check(body: dict[str, Any]) -> Record:
    """The record that `body` is.

    Raises:
        Problem: with the sentence for its sender.
    """
    kind = body.get("kind")
    schema = _SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schema is None:
        raise Problem("kind: missing" if "kind" not in body else f"kind: not one of {', '.join(KINDS)}")
    if body.get("deleted", False) is not False:
        schema = TombstoneRecord
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        raise Problem(_sentence(error)) from None


def is_cancelled(record: AppointmentRecord) -> bool:
    """Whether it will not take place, in either spelling."""
    return record.status in CANCELLED


def canonical_json(body: Mapping[str, Any]) -> str:
    """The one spelling of a body: sorted keys, no spaces. Equal bodies have equal texts."""
    return _ENCODER.encode(body)


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    message = str(first["ctx"]["error"]) if first["type"] == "value_error" else _lower(first["msg"])
    return f"{field}: {message}" if field else message


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
