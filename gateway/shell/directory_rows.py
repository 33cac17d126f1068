"""What a batch of records does to the directory: pure, from what is there to the rows to write.

there?         | version given | body   | verdict
---------------|---------------|--------|----------------------------------------------
no             | any           | any    | accepted
yes            | higher        | any    | accepted
yes            | same          | same   | unchanged (accepted where retention dropped the body)
yes            | same          | other  | stale
yes            | lower         | any    | stale
tombstone      | higher        | any    | accepted: the thing is back
tombstone      | same or lower | any    | stale; the same tombstone: unchanged
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gateway.core.model import Appointment, Clerk
from gateway.shell.records import (
    AppointmentRecord,
    ClerkRecord,
    CredentialPart,
    Record,
    TombstoneRecord,
    VisitorRecord,
    canonical_credential,
    canonical_json,
    is_cancelled,
)
from gateway.shell.strict_json import Problem

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_TOMBSTONE_DIGEST: Final = b"deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """An appointment or a clerk as the directory has it now, for the log. `seq` grows with every change;
    `removed`: the clerk is gone (an appointment that is gone has the status `cancelled`)."""

    seq: int
    subject: Appointment | Clerk
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the directory holds of one record."""

    version: int
    deleted: bool
    digest: bytes
    has_body: bool


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked record and what is stored of it: its body without credentials, and their digests."""

    line: int
    record: Record
    digest: bytes
    body: str | None
    credentials: tuple[bytes, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """Kind and id."""
        return self.record.kind, self.record.id


@dataclass(slots=True)
class Plan:
    """What a batch will do: the verdicts' counts, and the last accepted record of every key."""

    accepted: int = 0
    unchanged: int = 0
    stale: int = 0
    winners: dict[tuple[str, str], Prepared] = field(default_factory=dict)


class Digests:
    """Keyed digests: of a credential (HMAC-SHA256 over kind and canonical value), and of a body."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the credential key has fewer than 16 bytes")
        self._key = key

    def credential(self, kind: str, value: str) -> bytes:
        """Of a credential in any spelling.

        Raises:
            ValueError: the value is not of its kind.
        """
        message = f"{kind}\0{canonical_credential(kind, value)}".encode()
        return hmac.digest(self._key, message, "sha256")

    def body(self, text: str) -> bytes:
        """Of a canonical body; keyed, so that it does not confirm a guess at what was deleted."""
        return hashlib.blake2b(text.encode(), key=self._key[:64], digest_size=16, person=b"body").digest()


def prepare(line: int, record: Record, body: Mapping[str, Any], digests: Digests) -> Prepared:
    """What is stored of a checked record.

    Raises:
        Problem: a credential is not of its kind.
    """
    if isinstance(record, TombstoneRecord):
        return Prepared(line, record, _TOMBSTONE_DIGEST, None)
    found: list[bytes] = []
    kept = dict(body)
    if isinstance(record, VisitorRecord) and record.credentials:
        found = [_digest(digests, number, part) for number, part in enumerate(record.credentials)]
        kept["credentials"] = [
            {**{k: v for k, v in part.items() if k != "value"}, "digest": digest.hex()}
            for part, digest in zip(body["credentials"], found, strict=True)
        ]
    if isinstance(record, AppointmentRecord) and record.code is not None:
        found = [digests.credential("booking-code", record.code)]
        del kept["code"]
        kept["code_digest"] = found[0].hex()
    text = canonical_json(kept)
    return Prepared(line, record, digests.body(text), text, tuple(found))


def _digest(digests: Digests, number: int, part: CredentialPart) -> bytes:
    try:
        return digests.credential(part.kind, part.value)
    except ValueError as error:
        raise Problem(f"credentials.{number}: {error}") from None


def plan(known: Mapping[tuple[str, str], Known], batch: Iterable[Prepared]) -> Plan:
    """The verdict on each record of a batch, in its order, as in the table above."""
    there = dict(known)
    result = Plan()
    for each in batch:
        before = there.get(each.key)
        deleted = isinstance(each.record, TombstoneRecord)
        if before is None or each.record.version > before.version or _is_back(before, each):
            there[each.key] = Known(each.record.version, deleted, each.digest, not deleted)
            result.winners[each.key] = each
            result.accepted += 1
        elif each.record.version == before.version and each.digest == before.digest:
            result.unchanged += 1
        else:
            result.stale += 1
    return result


def _is_back(before: Known, each: Prepared) -> bool:
    return (
        not before.deleted
        and not before.has_body
        and each.record.version == before.version
        and each.digest == before.digest
    )


def micros(at: datetime) -> int:
    """Microseconds since 1970; exact, unlike a float."""
    return (at - EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """The time that `micros` came from, in UTC."""
    return EPOCH + timedelta(microseconds=at)


def appointment_row(record: AppointmentRecord, code: bytes | None, change: int) -> tuple[Any, ...]:
    """In the order of `directory_sql.APPOINTMENT`."""
    status = "cancelled" if is_cancelled(record) else "booked"
    return (
        record.id,
        record.version,
        record.visitor,
        record.clerk,
        micros(record.start),
        micros(record.end),
        status,
        record.store,
        record.service,
        record.party_size,
        record.language,
        code,
        record.moved_to,
        change,
    )


def as_appointment(row: tuple[Any, ...]) -> Appointment:
    """The core's appointment of a row in the order of `directory_sql.APPOINTMENT`."""
    id_, version, visitor, clerk, start, end, status, store, service, party_size, language = row[:11]
    return Appointment(
        id=id_,
        start=moment(start),
        end=moment(end),
        visitor=visitor,
        clerk=clerk,
        status=status,
        store=store,
        service=service,
        party_size=party_size,
        language=language,
        version=version,
    )


def as_clerk(record: ClerkRecord) -> Clerk:
    """The core's clerk: no name."""
    shifts = None if record.shifts is None else tuple(shift.as_shift() for shift in record.shifts)
    return Clerk(
        id=record.id,
        roles=tuple(record.roles),
        skills=tuple(record.skills),
        languages=tuple(record.languages),
        zone=record.zone,
        shifts=shifts,
        version=record.version,
    )


def name_words(*names: str | None) -> list[str]:
    """The words under which a name is found: without accents and case."""
    text = " ".join(name for name in names if name)
    if text.isascii() and text.replace(" ", "").isalnum():
        return sorted(set(text.lower().split()))[:20]
    text = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(c if c.isalnum() else " " for c in text if not unicodedata.combining(c))
    return sorted(set(plain.split()))[:20]
