"""The nouns: what a device saw, who is expected, who works today, and how a visit stands.

All values are frozen and hold plain types only. Times are timezone-aware `datetime` in UTC. Ids are
opaque strings of at most 128 characters of `[A-Za-z0-9._:-]`. Visitors and clerks appear by their
pseudonymous id: no name, no card number and no hash of one ever enters the core.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def is_id(text: str) -> bool:
    """Whether `text` may be used as an id."""
    return ID_PATTERN.fullmatch(text) is not None


def derived(kind: str, command_id: str) -> str:
    """An id that a command gives rise to, e.g. `visit-9f86d081884c7d65`: the same for the same command."""
    return f"{kind}-{hashlib.sha256(f'{kind}/{command_id}'.encode()).hexdigest()[:20]}"


class Technology(StrEnum):
    """How a read was made."""

    QR = "qr"
    NFC = "nfc"
    BLE = "ble"
    RFID = "rfid"


class Proof(StrEnum):
    """How much a credential proves. A hint identifies, it never authenticates."""

    PROVEN = "proven"  # a signed QR, SUN, a rolling id
    HELD = "held"  # a booking code, a loyalty card's number
    HINT = "hint"  # a bare UID, a static beacon


@dataclass(frozen=True, slots=True)
class Read:
    """Raw bytes from a reader, not yet believed.

    `id` is minted by the reader and is the read's identity. `time` is what the reader's clock said:
    evidence, not truth. `data` holds the technology's fields as in the contract (`payload`,
    `symbology`; `uid`, `ndef`; `epc`, `antenna`, …), already checked for type and size.
    """

    id: str
    reader: str
    technology: Technology
    data: Mapping[str, object]
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class SingleUse:
    """A token that counts once: its id and the instant from which it no longer matters."""

    id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Credential:
    """What a decoder made of a read: `kind` and `value` name it, `proof` says how far to believe it.

    Kinds: `appointment` (value is the appointment's id, from a signed token), `booking-code`,
    `loyalty`, `nfc-uid` (upper-case hex), `epc` (upper-case hex), `ibeacon` (`UUID:major:minor`).
    """

    kind: str
    value: str
    proof: Proof
    single_use: SingleUse | None = None


@dataclass(frozen=True, slots=True)
class Appointment:
    """A planned meeting of one visitor with one clerk, as the directory has it."""

    id: str
    start: datetime
    end: datetime
    visitor: str | None = None
    clerk: str | None = None
    status: str = "booked"  # or "cancelled"
    store: str | None = None
    service: str | None = None
    party_size: int = 1
    language: str | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Shift:
    """A stretch of work: `start` included, `end` not."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Clerk:
    """Who may be alerted. `shifts` of None means that nobody told us: counted as always on shift."""

    id: str
    roles: tuple[str, ...] = ("clerk",)
    skills: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    zone: str | None = None
    shifts: tuple[Shift, ...] | None = None
    version: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What the directory said of a read's credentials, at the moment its command entered.

    `credential_kind` and `proof` are of the credential that was recognised (or of the first one when
    none was). `owners` are the visitors it belongs to; `named` is the appointment that a token or a
    booking code names; `appointments` are the owners' and the named one, today's and cancelled ones included.
    """

    credential_kind: str
    proof: Proof
    owners: tuple[str, ...] = ()
    named: str | None = None
    appointments: tuple[Appointment, ...] = ()
    single_use: SingleUse | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The store's times, from its configuration. The defaults are the contract's."""

    window: timedelta = timedelta(minutes=15)
    late_flag: timedelta = timedelta(minutes=10)
    late: timedelta = timedelta(minutes=30)
    rescan: timedelta = timedelta(minutes=15)
    delivered: timedelta = timedelta(seconds=5)
    backup: timedelta = timedelta(seconds=60)
    pool: timedelta = timedelta(seconds=120)
    manager: timedelta = timedelta(seconds=300)
    store: str = "store"
    time_zone: str = "UTC"
    alert_life: timedelta = timedelta(minutes=15)
    abandon: timedelta = timedelta(hours=12)  # after which an unclosed visit is closed
    remember: timedelta = timedelta(hours=12)  # how long a closed visit stays in the state
