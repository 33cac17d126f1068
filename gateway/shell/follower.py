"""The follower that tells the floor: log → notices → MQTT, at least once, with a durable cursor.

It publishes as events are committed and never waits for a PUBACK before sending the next alert; its cursor
follows the oldest notice that the broker has not taken yet. When the link is lost it goes back to the cursor, so
a notice may be sent twice under the same id, and never not at all. A notice that has expired is passed over.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from operator import itemgetter

from gateway.core.chain import Sealed
from gateway.core.errors import LogError
from gateway.core.react import STATE_TYPE, Notice, envelope, react
from gateway.shell.broker import Broker, Message
from gateway.shell.log import EventLog

NAME = "floor"
_PAGE = 256
_LIFE = timedelta(minutes=15)  # of a notice that names no expiry


class FloorFollower:
    """What has just been committed is sent by whoever committed it (`committed`), for a thread that has to be
    woken first costs an alert a tenth of a millisecond. Everything else is done by a thread of its own, between
    `start` and `stop`: a backlog, a link that came back, a cursor that has to follow."""

    def __init__(
        self,
        log: EventLog,
        broker: Broker,
        now: Callable[[], datetime],
        note_cursor: Callable[[str, int], None],
        on_fatal: Callable[[LogError], None],
    ) -> None:
        self._log = log
        self._broker = broker
        self._now = now
        self._note_cursor = note_cursor
        self._on_fatal = on_fatal
        self._cursor = self._sent = log.cursor(NAME)
        self._in_flight: deque[tuple[int, Future[None]]] = deque()
        self._wake = threading.Event()
        self._turning = threading.Lock()  # over all that follows the log
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="floor-follower", daemon=True)
        self.published = 0

    @property
    def cursor(self) -> int:
        """The last event whose notices the broker has taken."""
        return self._cursor

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def committed(self) -> None:
        """Something was committed: send it now, if that is all there is to send. Never waits."""
        if self._log.head[0] - self._sent > _PAGE or not self._turning.acquire(blocking=False):
            self._wake.set()
            return
        try:
            self._guarded(self._turn)
        finally:
            self._turning.release()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is committed, wait a little for the broker to take it, and end the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopping:
            behind = self._in_flight or self._sent < self._log.head[0]
            self._wake.wait(0.2 if behind else 5.0)
            self._wake.clear()
            with self._turning:
                self._guarded(self._turn)
        with self._turning:
            self._guarded(self._turn)

    def _guarded(self, turn: Callable[[], None]) -> None:
        try:
            turn()
        except LogError as error:
            self._fail(error)
        except Exception as error:  # noqa: BLE001 a floor that hears nothing more must not go unnoticed
            failed = LogError(
                "follower-failed", f"the floor's follower met something it has no rule for: {error!r}"
            )
            failed.__cause__ = error
            self._fail(failed)

    def _fail(self, error: LogError) -> None:
        self._stopping = True
        self._on_fatal(error)

    def _turn(self) -> None:
        if not self._broker.connected:
            self._go_back()
            return
        self._settle()  # first: what the last link lost is sent again now, and not at the next commit
        while page := self._log.read(self._sent, _PAGE):
            self._send(page)
            if not self._settle():
                return  # it does not take them now: sending them again at once would only spin

    def _send(self, page: Sequence[Sealed]) -> None:
        alerts, states = list[tuple[int, Message]](), list[tuple[int, Message]]()
        for sealed in page:
            for number, notice in enumerate(react(sealed.event, sealed.seq)):
                if not self._fresh(notice):
                    continue
                name = f"{self._log.epoch}.{sealed.seq}.{number}"
                message = Message(notice.topic, envelope(notice, name, self._log.store))
                later = notice.type == STATE_TYPE  # a sign on the wall has time, a clerk has not
                (states if later else alerts).append((sealed.seq, message))
        if notices := [*alerts, *states]:
            futures = self._broker.publish_all([message for _, message in notices])
            sent = zip((seq for seq, _ in notices), futures, strict=True)
            self._in_flight.extend(sorted(sent, key=itemgetter(0)))
            self.published += len(notices)
        self._sent = page[-1].seq

    def _fresh(self, notice: Notice) -> bool:
        return (notice.expires_at or notice.at + _LIFE) > self._now()

    def _settle(self) -> bool:
        """Move the cursor over what the broker has taken. False: it has refused or lost something, and we are back
        at the cursor."""
        while self._in_flight and self._in_flight[0][1].done():
            if self._in_flight[0][1].exception() is not None:
                self._go_back()
                return False
            self._in_flight.popleft()
        reached = self._in_flight[0][0] - 1 if self._in_flight else self._sent
        if reached > self._cursor:
            self._cursor = reached
            self._note_cursor(NAME, reached)
        return True

    def _go_back(self) -> None:
        self._in_flight.clear()
        self._sent = self._cursor
