"""What a store goes through while something breaks, and the account of it afterwards.

A remote reader publishes reads with ids of its own and forgets one only when it has the receipt. A tablet says
"coming" to every alert until it has the receipt. What they were promised is compared with the log.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync import batch
from tests.rigs.daemon import Daemon, appointment, clerk, visitor
from tests.rigs.station import Station, Told

READS_PER_VISITOR = 2
AGAIN_SECONDS = 0.5
WINDOW = 16
SCOPES = ("platform", "operator", "clerk:marco", "reader:door-1")


def code(number: int) -> str:
    """The booking code of visitor `number`."""
    return f"K{number:06d}"


def populate(daemon: Daemon, visitors: int) -> None:
    """Marco, and so many visitors who have an appointment with him in five minutes."""
    people = [visitor(f"v-{n}") for n in range(visitors)]
    planned = [appointment(f"a-{n}", f"v-{n}", 5, code=code(n)) for n in range(visitors)]
    told = daemon.put([clerk("marco"), *people, *planned])
    assert told["quarantined"] == []


class RemoteReader:
    """Publishes a read every `pause` seconds, at most `window` of them unanswered, until there are `reads` or
    `finish` is called; `answered` has the final outcomes."""

    def __init__(
        self, daemon: Daemon, *, pause: float = 0.02, reads: int | None = None, window: int = WINDOW
    ) -> None:
        self.answered: dict[str, str] = {}
        self.published = 0
        self._pause, self._reads, self._window = pause, reads, window
        self._waiting: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._finishing, self._stop = threading.Event(), threading.Event()
        self._station = daemon.station("reader:door-1", on_told=self._told, lasting=True)
        self._thread = threading.Thread(target=self._run, name="remote-reader")
        self._thread.start()

    def finish(self, seconds: float = 60) -> None:
        """No new reads; wait until each has its answer."""
        self._finishing.set()
        deadline = time.monotonic() + seconds
        while self.waiting:
            assert time.monotonic() < deadline, f"{self.waiting} reads were never answered"
            time.sleep(0.02)
        self.close()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            now = time.monotonic()
            with self._lock:
                due = [name for name, (_, at) in self._waiting.items() if now - at > AGAIN_SECONDS]
                more = not self._finishing.is_set() and len(self._waiting) < self._window
                if more and (self._reads is None or self.published < self._reads):
                    name = f"r-{self.published}"
                    self._waiting[name] = (self.published // READS_PER_VISITOR, now)
                    self.published += 1
                    due.append(name)
            for name in due if self._station.up else ():
                with self._lock:
                    if name not in self._waiting:
                        continue
                    number = self._waiting[name][0]
                    self._waiting[name] = (number, now)
                self._station.read(name, payload=code(number), wait=False)

    def _told(self, told: Told) -> None:
        if not told.topic.endswith("/receipts"):
            return
        final = told.data.get("first", told.data)
        with self._lock:
            self._waiting.pop(told.data["read"], None)
            self.answered[told.data["read"]] = final["outcome"]


class Tablet:
    """Says "coming" to every alert until it has the receipt."""

    def __init__(self, daemon: Daemon) -> None:
        self.alerted: dict[str, str] = {}
        self._waiting: dict[str, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        topics = ("clerks/marco/alerts", "clerks/marco/receipts")
        self.station: Station = daemon.station("clerk:marco", *topics, on_told=self._told, lasting=True)
        self._thread = threading.Thread(target=self._run, name="tablet")
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            now = time.monotonic()
            with self._lock:
                due = [alert for alert, at in self._waiting.items() if now - at > AGAIN_SECONDS]
                if self.station.up:
                    self._waiting |= dict.fromkeys(due, now)
            for alert in due if self.station.up else ():
                self.station.command(f"ack-{alert}", self.alerted[alert], "coming", alert=alert, wait=False)

    def _told(self, told: Told) -> None:
        with self._lock:
            if told.topic.endswith("/alerts") and told.type == "soglia.alert.v1":
                if told.data["alert"] not in self.alerted:
                    self.alerted[told.data["alert"]] = told.data["visit"]
                    self._waiting[told.data["alert"]] = 0.0
            elif told.topic.endswith("/receipts"):
                self._waiting.pop(told.data["command"].removeprefix("ack-"), None)


@dataclass(frozen=True)
class Account:
    """What was promised and what the log holds."""

    acknowledged: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    visits: int
    opened_twice: tuple[str, ...]
    unanswered: tuple[str, ...]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.opened_twice or self.unanswered)

    def __str__(self) -> str:
        counts = (len(each) for each in (self.lost, self.duplicated, self.opened_twice, self.unanswered))
        lost, duplicated, twice, unanswered = counts
        return (
            f"{self.acknowledged} reads acknowledged, {lost} lost, {duplicated} duplicated; "
            f"{self.visits} visits, {twice} opened twice, {unanswered} not acknowledged exactly once"
        )


def account(events: Iterable[dict[str, Any]], answered: dict[str, str]) -> Account:
    """Compare: every accepted read once in the log, one opening a visitor, one acknowledgement a visit."""
    events = list(events)
    reads = Counter(e["data"]["read"] for e in events if e["type"] == "soglia.sighting.recorded.v1")
    opened = Counter(e["data"]["visitor"] for e in events if e["type"] == "soglia.visit.opened.v1")
    visits = [e["subject"] for e in events if e["type"] == "soglia.visit.opened.v1"]
    taken = Counter(e["subject"] for e in events if e["type"] == "soglia.visit.acknowledged.v1")
    accepted = [name for name, outcome in answered.items() if outcome == "accepted"]
    assert len(accepted) == len(answered), "every read is of a visitor who is expected"
    return Account(
        acknowledged=len(accepted),
        lost=tuple(name for name in accepted if name not in reads),
        duplicated=tuple(name for name, times in reads.items() if times > 1),
        visits=len(visits),
        opened_twice=tuple(name for name, times in opened.items() if times > 1),
        unanswered=tuple(visit for visit in visits if taken[visit] != 1),
    )


def settle(daemon: Daemon, tablet: Tablet, seconds: float) -> None:
    """Wait until the tablet has answered for every visit of the log, or so long: `account` says which it was."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        events = daemon.events()
        opened = sum(e["type"] == "soglia.visit.opened.v1" for e in events)
        taken = len({e["subject"] for e in events if e["type"] == "soglia.visit.acknowledged.v1"})
        if opened == taken and not tablet.waiting:
            return
        time.sleep(0.1)


def verified_events(daemon: Daemon) -> list[dict[str, Any]]:
    """The whole log as the platform gets it: signed, contiguous and chained from the first event on."""
    found: list[dict[str, Any]] = []
    with daemon.http("platform") as client:
        keys = client.get("/api/v1/sync/keys").json()["keys"]
        key = Ed25519PublicKey.from_public_bytes(batch.from_base64url(keys[0]["public_key"]))
        position: batch.Position | None = None
        params: dict[str, str] = {"limit": "1000"}
        while (told := client.get("/api/v1/sync/batches", params=params).json())["count"]:
            position = batch.verify(told, key, position)
            found += told["events"]
            params["after"] = told["next"]
    assert [e["sequence"] for e in found] == list(range(1, len(found) + 1))
    return found


def events_on_disk(daemon: Daemon) -> list[dict[str, Any]]:
    """What a dead daemon's log holds."""
    with closing(sqlite3.connect(f"{(daemon.data / 'log.db').as_uri()}", uri=True)) as db:
        return [json.loads(row[0]) for row in db.execute("SELECT body FROM events ORDER BY seq")]
