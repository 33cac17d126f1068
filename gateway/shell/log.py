"""The seam of the log: events, receipts, cursors and snapshots, committed together or not at all.

do      call `append`, `move_cursor`, `save_snapshot` and `commit` from one thread only
do      treat a failed `commit` as unknown, not as failed, and end the process
don't   show an event to anybody before `commit` has returned
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.chain import Sealed
from gateway.core.events import Event
from gateway.core.receipts import First


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """What a command was told, and the keyed hash of what it had said."""

    body_hash: bytes
    first: First
    seq: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state after event `seq`, as canonical JSON, and that text's SHA-256 in hex."""

    seq: int
    state: bytes
    digest: str


class CommittedLog(Protocol):
    """What has been committed, for any thread."""

    @property
    def store(self) -> str: ...

    @property
    def epoch(self) -> str:
        """A random name minted when the log was made or restored; a cursor of another epoch is worth nothing."""
        ...

    @property
    def genesis(self) -> str:
        """The `prev_hash` of the first event."""
        ...

    @property
    def head(self) -> tuple[int, str]:
        """Sequence and hash of the last committed event; `(0, genesis)` when there is none."""
        ...

    def read(self, after: int, limit: int) -> list[Sealed]:
        """Up to `limit` events whose seq is greater than `after`, in order."""
        ...

    def about(self, subject: str) -> Iterator[Sealed]:
        """Every event about `subject`, in order. Slow: it reads the whole log."""
        ...

    def hash_at(self, seq: int) -> str:
        """The hash of event `seq`; the genesis hash for 0.

        Raises:
            KeyError: there is no such event (any more).
        """
        ...

    def snapshot(self) -> Snapshot | None:
        """The newest committed snapshot."""
        ...

    def close(self) -> None: ...


class EventLog(CommittedLog, Protocol):
    """The one durable truth of a store."""

    # -- the engine's thread only

    def receipt(self, command_id: str) -> StoredReceipt | None:
        """The receipt of a command, committed or in the open group."""
        ...

    def append(
        self, command_id: str, body_hash: bytes, first: First, events: Sequence[Event]
    ) -> list[Sealed]:
        """Add a command's receipt and events to the open group.

        Raises:
            LogError: the disk failed.
        """
        ...

    def move_cursor(self, name: str, seq: int) -> None:
        """Move a follower's cursor forward with the open group; moving it back does nothing."""
        ...

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Keep `snapshot` with the open group; the one before the last is dropped."""
        ...

    def commit(self) -> None:
        """Make the open group durable (fsync) and visible.

        Raises:
            LogError: unknown whether the group is on disk: stop acknowledging, end the process.
        """
        ...

    def idle(self) -> None:
        """Housekeeping while nothing waits (the checkpoint)."""
        ...

    # -- any thread

    def cursor(self, name: str) -> int:
        """The committed cursor of a follower; 0 for a new one."""
        ...
