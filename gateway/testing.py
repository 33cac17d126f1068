"""The other side of every seam, without hardware or network: for our tests and for integrators.

    MemoryLog      an EventLog that a power cut (`restarted`) reduces to what was committed
    FakeBroker     a Broker whose link can be cut, healed and held
    FakePlatform   pulls, verifies, keeps and acknowledges, as the central platform does

Each passes the same contract suite as the real thing (tests/contracts).
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from gateway.core import chain
from gateway.core.chain import Sealed
from gateway.core.errors import LogError
from gateway.core.events import Event
from gateway.core.receipts import First
from gateway.shell.log import Snapshot, StoredReceipt
from gateway.testing_broker import FakeBroker as FakeBroker


class MemoryLog:
    """An `EventLog` in memory."""

    def __init__(self, store: str, epoch: str | None = None) -> None:
        self.store = store
        self.epoch = epoch or secrets.token_hex(8)
        self.genesis = chain.genesis(store, self.epoch)
        self.head: tuple[int, str] = (0, self.genesis)
        self._events: list[Sealed] = []
        self._receipts: dict[str, StoredReceipt] = {}
        self._cursors: dict[str, int] = {}
        self._snapshots: dict[int, Snapshot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._staged = self.head
        self._forget_group()

    def restarted(self) -> MemoryLog:
        """What a restart finds after a power cut: everything committed and nothing else."""
        with self._lock:
            again = MemoryLog(self.store, self.epoch)
            again.head = self.head
            again._events = list(self._events)
            again._receipts = dict(self._receipts)
            again._cursors = dict(self._cursors)
            again._snapshots = dict(self._snapshots)
            again._forget_group()
        return again

    # -- the engine's thread

    def receipt(self, command_id: str) -> StoredReceipt | None:
        return self._group_receipts.get(command_id) or self._receipts.get(command_id)

    def append(
        self, command_id: str, body_hash: bytes, first: First, events: Sequence[Event]
    ) -> list[Sealed]:
        self._open_only()
        if self.receipt(command_id) is not None:
            raise LogError(
                "log-conflict", f"Command {command_id} was decided before: ask for its receipt first."
            )
        sealed: list[Sealed] = []
        seq, prev = self._staged
        for event in events:
            one = chain.seal(event, seq=seq + 1, prev_hash=prev, store=self.store, epoch=self.epoch)
            sealed.append(one)
            seq, prev = one.seq, one.hash
        self._staged = (seq, prev)
        self._group += sealed
        self._group_receipts[command_id] = StoredReceipt(body_hash, first, seq if sealed else None)
        return sealed

    def move_cursor(self, name: str, seq: int) -> None:
        self._open_only()
        self._group_cursors[name] = max(seq, self._group_cursors.get(name, 0))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._open_only()
        self._group_snapshots[snapshot.seq] = snapshot

    def commit(self) -> None:
        self._open_only()
        with self._lock:
            self._events += self._group
            self._receipts |= self._group_receipts
            for name, seq in self._group_cursors.items():
                self._cursors[name] = max(seq, self._cursors.get(name, 0))
            kept = sorted({**self._snapshots, **self._group_snapshots}.items())[-2:]
            self._snapshots = dict(kept)
            self.head = self._staged
        self._forget_group()

    def idle(self) -> None:
        self._open_only()

    # -- any thread

    def read(self, after: int, limit: int) -> list[Sealed]:
        self._open_only()
        with self._lock:
            return self._events[after : after + limit]

    def about(self, subject: str) -> Iterator[Sealed]:
        return (one for one in self.read(0, self.head[0]) if one.event.subject == subject)

    def hash_at(self, seq: int) -> str:
        if seq == 0:
            return self.genesis
        found = self.read(seq - 1, 1) if seq > 0 else []
        if not found:
            raise KeyError(seq)
        return found[0].hash

    def cursor(self, name: str) -> int:
        self._open_only()
        return self._cursors.get(name, 0)

    def snapshot(self) -> Snapshot | None:
        self._open_only()
        with self._lock:
            return self._snapshots[max(self._snapshots)] if self._snapshots else None

    def close(self) -> None:
        """Give up what is uncommitted."""
        self._closed = True
        self._forget_group()

    def _forget_group(self) -> None:
        self._staged = self.head
        self._group: list[Sealed] = []
        self._group_receipts: dict[str, StoredReceipt] = {}
        self._group_cursors: dict[str, int] = {}
        self._group_snapshots: dict[int, Snapshot] = {}

    def _open_only(self) -> None:
        if self._closed:
            raise LogError("log-closed", "The log has been closed: the gateway is stopping.")


Position = tuple[int, str]


class FakePlatform:
    """The central platform: it keeps what it has verified, then acknowledges it.

    `pull` and `acknowledge` are an outbox's, or calls over HTTP that do the same. `verify` is
    `sync.batch.verify` with the store's public key.
    """

    def __init__(
        self,
        pull: Callable[[str | None, int], Mapping[str, Any]],
        acknowledge: Callable[[str], Future[int] | int],
        verify: Callable[[Mapping[str, Any], Position | None], Position],
    ) -> None:
        self._pull = pull
        self._acknowledge = acknowledge
        self._verify = verify
        self.events: list[Any] = []
        self.cursor: str | None = None
        self.position: Position | None = None
        self.acknowledged = 0

    def poll(self, limit: int = 500) -> int:
        """Pull one batch, verify it, keep it and acknowledge it; how many events it had.

        Raises:
            PeerError: a gap, a fork or a forgery; nothing of that batch is kept.
            Refused: the store does not take our cursor.
        """
        batch = self._pull(self.cursor, limit)
        self.position = self._verify(batch, self.position)
        self.events += batch["events"]
        self.cursor = str(batch["next"])
        answer = self._acknowledge(self.cursor)
        self.acknowledged = answer.result(timeout=30) if isinstance(answer, Future) else answer
        return len(batch["events"])

    def catch_up(self, limit: int = 500) -> int:
        """Poll until a batch is empty; how many events came.

        Raises:
            PeerError, Refused: as `poll`.
        """
        total = 0
        while got := self.poll(limit):
            total += got
        return total
