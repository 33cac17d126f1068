"""Keeps readers running: a thread each; one that fails is closed, waits and is opened again.

A reader's failure is a `ReaderError`, but any other exception, and a return without being asked, counts as
one too: it is reported with its type, and never ends the thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from devices.reader import Deliver, Reader
from gateway.core.errors import ReaderError
from gateway.core.model import Read
from gateway.core.receipts import Receipt

OnHealth = Callable[[str, bool, str | None], None]


class Standing(StrEnum):
    """How a reader stands."""

    STARTING = "starting"
    WORKING = "working"
    LOST = "lost"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Health:
    """A reader, for people and for `/metrics`. `since` is when it came to stand so; `restarts` counts how
    often it was opened again; `reason` says why it is lost."""

    reader: str
    standing: Standing
    since: datetime
    reads: int = 0
    last_read: datetime | None = None
    restarts: int = 0
    reason: str | None = None


class Backoff:
    """How long to wait before the next try. Pure: it is told how long the reader had worked."""

    def __init__(self, first: float = 0.25, longest: float = 10.0, healthy: float = 30.0) -> None:
        self._first = first
        self._longest = longest
        self._healthy = healthy
        self._next = first

    def after(self, worked: float) -> float:
        """Seconds to wait, given how many the reader worked; `healthy` ones make it start small again."""
        if worked >= self._healthy:
            self._next = self._first
        wait, self._next = self._next, min(self._next * 2, self._longest)
        return wait


class Supervisor:
    """Runs `readers`. `on_health(reader, lost, reason)` is called on the reader's thread, once for every
    change: when it works for the first time, when it is lost, and when it works again."""

    def __init__(
        self,
        readers: Sequence[Reader],
        deliver: Deliver,
        on_health: OnHealth,
        *,
        backoff: Callable[[], Backoff] = Backoff,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop = threading.Event()
        self._runs = [_Run(reader, deliver, on_health, backoff(), wall, monotonic) for reader in readers]

    def start(self) -> None:
        """Start every reader's thread; returns at once."""
        for run in self._runs:
            run.start(self._stop)

    def stop(self, seconds: float = 5.0) -> tuple[str, ...]:
        """Ask all to stop and wait, together at most `seconds`. The ids of those that still run."""
        self._stop.set()
        until = time.monotonic() + seconds
        for run in self._runs:
            run.join(max(0.0, until - time.monotonic()))
        return tuple(run.health().reader for run in self._runs if run.alive)

    def health(self) -> tuple[Health, ...]:
        """How every reader stands now."""
        return tuple(run.health() for run in self._runs)


class _Run:
    """One reader and its thread."""

    def __init__(
        self,
        reader: Reader,
        deliver: Deliver,
        on_health: OnHealth,
        backoff: Backoff,
        wall: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._deliver = deliver
        self._on_health = on_health
        self._backoff = backoff
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._health = Health(reader.id, Standing.STARTING, wall())
        self._working_since: float | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def health(self) -> Health:
        with self._lock:
            return self._health

    def start(self, stop: threading.Event) -> None:
        self._thread = threading.Thread(
            target=self._keep_running, args=(stop,), name=f"reader-{self._reader.id}", daemon=True
        )
        self._thread.start()

    def join(self, seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _keep_running(self, stop: threading.Event) -> None:
        while True:
            self._working_since = None
            reason = self._run_once(stop)
            if stop.is_set():
                self._stand(Standing.STOPPED)
                return
            worked = 0.0 if self._working_since is None else self._monotonic() - self._working_since
            self._stand(Standing.LOST, reason)
            if stop.wait(self._backoff.after(worked)):
                self._stand(Standing.STOPPED)
                return
            with self._lock:
                self._health = replace(self._health, restarts=self._health.restarts + 1)

    def _run_once(self, stop: threading.Event) -> str:
        """Run the reader until it ends; why it did."""
        try:
            self._reader.run(self._count, stop, self._ready)
        except ReaderError as error:
            return error.reason
        except Exception as error:  # noqa: BLE001  a driver's bug must not end the thread; it is reported
            return f"unexpected-{type(error).__name__}"
        return "reader-ended"

    def _ready(self) -> None:
        self._working_since = self._monotonic()
        self._stand(Standing.WORKING)

    def _count(self, read: Read) -> Future[Receipt]:
        with self._lock:
            self._health = replace(self._health, reads=self._health.reads + 1, last_read=self._wall())
        return self._deliver(read)

    def _stand(self, standing: Standing, reason: str | None = None) -> None:
        with self._lock:
            before = self._health
            since = before.since if standing is before.standing else self._wall()
            self._health = replace(before, standing=standing, since=since, reason=reason)
        if standing is not before.standing and standing is not Standing.STOPPED:
            self._on_health(self._reader.id, standing is Standing.LOST, reason)
