"""What a day in a store needs: clerks on shift, visitors who book, and a place to hear everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from tests.rigs.daemon import Daemon, appointment, clerk, visitor
from tests.rigs.mosquitto import Mosquitto, free_port
from tests.rigs.station import Station, Told

CALENDAR = """
[[calendars]]
clerk = "marco"
path = "marco.ics"
every_seconds = 1

[webhooks.calcom]
secret_file = "calcom.secret"
clerks = { "organizer@example.com" = "marco" }
"""
GATEWAY_PASSWORD = "the gateway's own password"


class Booking:
    """A visitor with an appointment: `visitor`, `appointment`, `code`, `card` (an NFC UID), `loyalty`."""

    def __init__(self, number: int) -> None:
        self.visitor, self.appointment = f"v-{number}", f"a-{number}"
        self.code, self.loyalty = f"B{number:05d}", f"LOY-{number:06d}"
        self.card = f"04{number:012X}"
        self.email = f"person-{number}@example.net"

    @property
    def personal(self) -> tuple[str, ...]:
        """What must never leave the directory."""
        return (f"Nome-{self.visitor}", f"Famiglia-{self.visitor}", self.card, self.loyalty, self.code)


class Day:
    """The store of a module's stories. Everybody listens to all that they may; `everything` is what was heard."""

    def __init__(self, daemon: Daemon, records: list[dict[str, Any]]) -> None:
        self.daemon = daemon
        daemon.put(records)
        self.platform, self.operator = daemon.http("platform"), daemon.http("operator")
        self.marco_http, self.giulia_http = daemon.http("clerk:marco"), daemon.http("clerk:giulia")
        self.marco, self.giulia = daemon.station("clerk:marco"), daemon.station("clerk:giulia")
        self.door = daemon.station("reader:door-1")
        kiosk = ("readers/entrance/receipts", "visits/+/state", "gateway/status")
        self.kiosk = daemon.station("kiosk:entrance", *kiosk)
        self._numbers = count(1)
        self.bookings: list[Booking] = []

    def book(self, minutes: float = 5, *, with_: str | None = "marco", **more: Any) -> Booking:
        """A new visitor with an appointment in so many minutes."""
        booking = self.visitor()
        planned = appointment(booking.appointment, booking.visitor, minutes, with_=with_, code=booking.code)
        self.daemon.put([planned | more])
        return booking

    def visitor(self, **more: Any) -> Booking:
        """A new visitor without an appointment."""
        booking = Booking(next(self._numbers))
        self.bookings.append(booking)
        owns = (("nfc-uid", booking.card), ("loyalty", booking.loyalty))
        self.daemon.put([visitor(booking.visitor, *owns, **more)])
        return booking

    def arrive(self, booking: Booking, name: str) -> str:
        """The visitor shows her booking code at the door; the visit."""
        self.door.read(name, "qr", payload=booking.code)
        assert self.door.receipt(name)["outcome"] == "accepted"
        return self.visit_of(name)

    def visit_of(self, read: str) -> str:
        """The visit that a read opened or joined."""
        return str(self.sighting(read)["data"]["visit"])

    def sighting(self, read: str) -> dict[str, Any]:
        """The event that a read left in the log."""
        found = [e for e in self.daemon.events() if e["data"].get("read") == read]
        assert len(found) == 1, found
        return found[0]

    def act(
        self, clerk: httpx.Client, visit: str, action: str, name: str | None = None, **more: Any
    ) -> httpx.Response:
        """A clerk's command over HTTP."""
        body = {"id": name or f"h-{next(self._numbers)}", "action": action, **more}
        return clerk.post(f"/api/v1/visits/{visit}/commands", json=body)

    def state(self, visit: str) -> dict[str, Any]:
        """The visit as Marco sees it."""
        answer = self.marco_http.get(f"/api/v1/visits/{visit}")
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @property
    def stations(self) -> tuple[Station, ...]:
        return self.marco, self.giulia, self.door, self.kiosk

    @property
    def everything(self) -> list[Told]:
        """All that anybody was told over MQTT."""
        return [told for station in self.stations for told in station.told]


def clerks() -> list[dict[str, Any]]:
    """Marco, Giulia and the manager Sara work now, Davide tomorrow."""
    return [
        clerk("marco"),
        clerk("giulia"),
        clerk("sara", roles=("manager",)),
        clerk("davide", on=False),
    ]


def beside_mosquitto(folder: Path, scopes: Sequence[str], **more: Any) -> tuple[Daemon, Mosquitto]:
    """A store and a Mosquitto with the files that `soglia broker export` wrote for it; neither is started."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "broker.secret").write_text(GATEWAY_PASSWORD)
    (folder / "broker.secret").chmod(0o600)
    port = free_port()
    url = f'url = "mqtt://127.0.0.1:{port}"'
    table = f'[broker]\n{url}\nusername = "gateway"\npassword_file = "broker.secret"\n'
    daemon = Daemon(folder, broker=table, **more)
    daemon.issue(*scopes)
    files = sorted(daemon.soglia("broker", "export", "--to", str(folder)).json["files"])
    acl, passwords = ((folder / name).read_text() for name in files)
    return daemon, Mosquitto(folder / "mosquitto", passwords, acl, "", port)


def feed(attendee: str, minutes: float, uid: str = "zoe-1@example.org", sequence: int = 0) -> bytes:
    """An iCalendar feed with one appointment of half an hour."""
    start = datetime.now(UTC) + timedelta(minutes=minutes)
    stamp = "%Y%m%dT%H%M%SZ"
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//shop//calendar//EN",
        "BEGIN:VEVENT",
        f"UID:{uid}",
        f"SEQUENCE:{sequence}",
        f"DTSTAMP:{datetime.now(UTC).strftime(stamp)}",
        f"DTSTART:{start.strftime(stamp)}",
        f"DTEND:{(start + timedelta(minutes=30)).strftime(stamp)}",
        "SUMMARY:Fitting",
        f"ATTENDEE;CN=Zoe Paoli:mailto:{attendee}",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
    return "\r\n".join(lines).encode()


def lines(records: list[dict[str, Any]]) -> bytes:
    """NDJSON."""
    return "\n".join(json.dumps(record) for record in records).encode()
