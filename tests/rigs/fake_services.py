"""A whole store behind the HTTP API, in one directory: the real engine, log, directory, keys and outbox.

Only what decodes a read is simpler than the real one: a QR's text is a booking code, an NFC tag's UID is itself.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.api.app import build
from gateway.api.server import Server, serve
from gateway.api.services import Health, Services
from gateway.core.errors import DecodeError, Refused
from gateway.core.model import Credential, Finding, Proof, Read, Rules, Technology
from gateway.shell.access import Access, Scope
from gateway.shell.directory import Directory
from gateway.shell.engine import Engine
from gateway.shell.intake import Intake
from gateway.shell.keys import Keys
from gateway.shell.sqlite_log import SqliteLog
from gateway.shell.telling import Teller
from sync.outbox import Outbox

STORE = "milano-01"
ZONES = {"door": "Door", "shoes": "Shoes", "bags": "Bags"}


@dataclass(frozen=True)
class Bearer:
    """What `Services.verify_token` answers."""

    role: str
    name: str | None


class Shop:
    """Everything but the server. `now` follows the machine's clock."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        self.rules = Rules(store=STORE, time_zone="Europe/Rome", delivered=timedelta(seconds=60))
        self.failures: list[BaseException] = []
        self._keys = Keys.open(path / "keys.db")
        self.access = Access(self._keys)
        self.log = SqliteLog(path / "log.db", STORE)
        self.directory = Directory.open(path / "directory.db", self._keys.secret("credential"), STORE)
        self.engine = Engine(
            self.log, self.rules, self.now, self._keys.secret("command"), self.failures.append
        )
        self.engine.start()
        self._teller = Teller(self.directory, self.engine.submit, self.now)
        self._intake = Intake(
            zone_of=lambda reader: "door" if reader.startswith(("door", "kiosk", "tablet:")) else None,
            decode=_decode,
            find=self._find,
            submit=self.engine.submit,
            now=self.now,
            quarantine=self.directory.quarantine,
            key=b"k" * 32,
        )
        self.outbox = Outbox(
            self.log, self._keys.secret("cursor"), self._keys.signing("batch"), self.engine.move_cursor
        )
        self.hooked: list[tuple[bytes, Mapping[str, str]]] = []
        self.ready = True

    def now(self) -> datetime:
        return datetime.now(UTC)

    def services(self) -> Services:
        return Services(
            store=STORE,
            store_name="Bottega Soglia",
            rules=self.rules,
            now=self.now,
            log=self.log,
            engine=self.engine,
            directory=self.directory,
            outbox=self.outbox,
            verify_token=self._verify,
            read=self._intake.read,
            decode_picture=_decode_picture,
            put_directory=self.put,
            hooks={"calcom": self._hook},
            health=lambda: Health(self.ready, {"log": "writes in 2 ms"}),
            metrics=lambda: "soglia_events_total 1\n",
            allowed_hosts=frozenset({"127.0.0.1", "localhost", "[::1]"}),
            zones=ZONES,
        )

    def token(self, scope: str, expires_in: timedelta | None = None) -> str:
        now = self.now()
        return self.access.issue(Scope.parse(scope), now + expires_in if expires_in else None, now).token

    def put(self, lines: Sequence[bytes]) -> dict[str, Any]:
        answer = self.directory.put(lines, "test", self.now()).answer()
        self._teller.tell()
        return answer

    def put_records(self, *records: Mapping[str, Any]) -> None:
        answer = self.put([json.dumps(record).encode() for record in records])
        assert not answer["quarantined"], answer

    def scan(self, code: str, reader: str = "door-1") -> None:
        """A booking code at the door."""
        name = f"scan-{time.monotonic_ns()}"
        self._intake.read(Read(name, reader, Technology.QR, {"payload": code})).result(20)

    def tap(self, uid: str) -> None:
        """A card at the door: a hint."""
        name = f"tap-{time.monotonic_ns()}"
        self._intake.read(Read(name, "door-1", Technology.NFC, {"uid": uid})).result(20)

    def visits(self) -> list[str]:
        return [visit.id for visit in self.engine.state.open_visits()]

    def close(self) -> None:
        self.engine.stop()
        self.directory.close()
        self.log.close()
        self._keys.close()
        assert not self.failures

    def _verify(self, token: str) -> Bearer:
        scope = self.access.verify(token, self.now()).scope
        return Bearer(scope.role.value, scope.name)

    def _find(self, credentials: Sequence[Credential], at: datetime) -> Finding:
        return self.directory.find(credentials, at, day_of(at))

    def _hook(self, body: bytes, headers: Mapping[str, str]) -> Mapping[str, Any]:
        if headers.get("x-cal-signature-256") != "right":
            raise Refused("signature-invalid", "The signature is not ours: check the secret.")
        self.hooked.append((body, headers))
        return {"accepted": 1}


def day_of(at: datetime) -> tuple[datetime, datetime]:
    start = at.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return start, start + timedelta(days=3)


def people(now: datetime, *, minutes: int = 4, version: int = 1) -> list[dict[str, Any]]:
    """Two clerks, a visitor with a history and an appointment soon, and one without either."""
    start = now + timedelta(minutes=minutes)
    viewed = {
        "id": "t1",
        "channel": "site",
        "type": "product_viewed",
        "at": (now - timedelta(hours=15)).isoformat(),
        "product": "sku-1",
        "size": "38",
        "colour": "red",
        "price": {"amount": "119.00", "currency": "EUR"},
    }
    records: list[dict[str, Any]] = [
        {"kind": "clerk", "id": "marco", "name": "Marco Rossi", "zone": "shoes", "skills": ["fitting"]},
        {"kind": "clerk", "id": "giulia", "name": "Giulia Ferri", "zone": "bags"},
        {
            "kind": "product",
            "id": "sku-1",
            "name": "Décolleté Brera",
            "price": {"amount": "129.00", "currency": "EUR"},
            "variants": [{"id": "sku-1-2", "size": "38", "colour": "red", "stock": 2}],
        },
        {
            "kind": "visitor",
            "id": "v-17",
            "given_name": "Anna",
            "family_name": "Bianchi",
            "language": "it",
            "credentials": [{"kind": "nfc-uid", "value": "04A2246BC11E80"}],
            "consent": [{"purpose": "history", "granted": True, "at": now.isoformat()}],
            "touchpoints": [viewed],
        },
        {
            "kind": "visitor",
            "id": "v-18",
            "given_name": "<b>Luca</b>",
            "family_name": "Ferrari",
            "credentials": [{"kind": "nfc-uid", "value": "04C13D52AA6F81"}],
            "touchpoints": [viewed],
        },
        {
            "kind": "appointment",
            "id": "a-9",
            "visitor": "v-17",
            "clerk": "marco",
            "start": start.isoformat(),
            "end": (start + timedelta(minutes=30)).isoformat(),
            "store": STORE,
            "service": "fitting",
            "code": "K7Q2MX",
            "language": "it",
        },
    ]
    return [{**record, "version": version} for record in records]


@contextmanager
def served(shop: Shop, port: int = 0, **changes: Any) -> Iterator[Server]:
    """The shop's API on a port of its own (or on `port`), with some of its services changed."""
    server = serve(build(replace(shop.services(), **changes)), "127.0.0.1", port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def until(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)


def _decode(read: Read, at: datetime) -> Sequence[Credential]:
    if read.technology is Technology.NFC:
        return [Credential("nfc-uid", str(read.data["uid"]), Proof.HINT)]
    text = read.data.get("payload")
    if not isinstance(text, str) or not text:
        raise DecodeError("payload-missing", "A QR read needs its text in `payload`.")
    return [Credential("booking-code", text, Proof.HELD)]


def _decode_picture(picture: bytes) -> Sequence[tuple[str, str]]:
    if not picture.startswith(b"picture:"):
        raise DecodeError("not-a-picture", "This is not a PNG or JPEG picture.")
    return [("]Q1", code) for code in picture.decode().removeprefix("picture:").split(",") if code]
