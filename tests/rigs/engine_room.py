"""A log and an engine over it, without the rest of the daemon: the clock is the test's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.core import commands as cmd
from gateway.core import events as ev
from gateway.core.errors import LogError
from gateway.core.model import Appointment, Finding, Proof, Rules, Technology
from gateway.core.receipts import Receipt
from gateway.shell.engine import Engine
from gateway.shell.log_file import sqlite3
from gateway.shell.sqlite_log import SqliteLog

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
PATIENCE = 20.0  # seconds; only a failure takes that long


class Now:
    """The gateway's clock, set by the test."""

    def __init__(self) -> None:
        self.at = TEN

    def __call__(self) -> datetime:
        return self.at


class Shop:
    """A log in `folder` and an engine over it. What the engine says is fatal ends up in `fatal`."""

    def __init__(self, folder: Path, inbox_size: int = 10_000, kind: type[SqliteLog] = SqliteLog) -> None:
        self.path = folder / "log.db"
        self.now = Now()
        self.fatal: list[LogError] = []
        self.ended = threading.Event()
        self.committed = threading.Condition()
        self.log = kind(self.path, "milano-01")
        self.engine = self.new_engine(inbox_size)

    def new_engine(self, inbox_size: int = 10_000) -> Engine:
        """One more engine over the same log, after the one before has ended."""
        self.engine = Engine(self.log, Rules(), self.now, b"a key", self._on_fatal, inbox_size)
        self.engine.on_commit(self._wake)
        return self.engine

    def _on_fatal(self, error: LogError) -> None:
        self.fatal.append(error)
        self.ended.set()

    def _wake(self) -> None:
        with self.committed:
            self.committed.notify_all()

    def lost(self, name: str, said: bytes = b"") -> Future[Receipt]:
        """Submit the smallest of commands: reader `name` is lost. One event."""
        return self.engine.submit(
            cmd.ReportReader(id=f"dev:{name}", at=self.now(), reader=name, lost=True), said
        )

    def until(self, seen: Callable[[], bool]) -> None:
        """Wait for something to be true of what is committed."""
        with self.committed:
            assert self.committed.wait_for(seen, PATIENCE), "it never came"

    def rows(self, query: str, *values: object) -> list[Any]:
        """What another connection sees in the file."""
        return seen_by_others(self.path, query, *values)

    def names(self) -> list[str]:
        """The committed events, as another connection sees them."""
        return [row[0] for row in self.rows("SELECT type FROM events ORDER BY seq")]

    def close(self) -> None:
        self.engine.stop()
        self.log.close()


Open = Callable[..., Shop]


def done(future: Future[Receipt]) -> Receipt:
    return future.result(PATIENCE)


def seen_by_others(path: Path, query: str, *values: object) -> list[Any]:
    """What another connection to the file gets."""
    other = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return list(other.execute(query, values))
    finally:
        other.close()


def receipts_of(path: Path, command_id: str) -> int:
    """How many receipts of a command another connection sees."""
    return int(seen_by_others(path, "SELECT count(*) FROM receipts WHERE command_id = ?", command_id)[0][0])


def arrival(at: datetime, read: str = "r1") -> cmd.RecordRead:
    """Anna's token is read; her appointment with Marco is at ten."""
    booked = Appointment("a-1", TEN, TEN + timedelta(minutes=30), visitor="v-anna", clerk="marco")
    return cmd.RecordRead(
        id=f"read:door-1:{read}",
        at=at,
        read=read,
        reader="door-1",
        zone="door",
        technology=Technology.QR,
        finding=Finding("appointment", Proof.PROVEN, ("v-anna",), "a-1", (booked,)),
    )


def alerts(shop: Shop) -> list[tuple[str, str | None, int, float]]:
    """The alerts in the log: level, to, attempt, seconds after ten."""
    events = [sealed.event for sealed in shop.log.read(0, 1_000)]
    told = [e for e in events if isinstance(e, ev.VisitAlerted)]
    return [(e.level, e.to, e.attempt, (e.at - TEN).total_seconds()) for e in told]
