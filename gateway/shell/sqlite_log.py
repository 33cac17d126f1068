"""The log in SQLite: WAL, `synchronous=FULL`, one write connection that is also the only checkpointer.

Readers are query-only connections, one a thread, that never checkpoint. The newest events are kept in memory
as well, so that a follower which is up to date never asks the disk.
"""

from __future__ import annotations

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from gateway.core import chain
from gateway.core.chain import Sealed
from gateway.core.codec import rfc3339
from gateway.core.errors import LogError
from gateway.core.events import Event
from gateway.core.receipts import First, Outcome
from gateway.shell import log_file
from gateway.shell import log_sql as sql
from gateway.shell.log import Snapshot, StoredReceipt
from gateway.shell.log_file import sqlite3
from gateway.shell.log_view import CommittedFile

_TAIL = 4096  # events kept in memory
_CHECKPOINT_PAGES = 512  # 2 MB: taken when nothing waits
_CHECKPOINT_PAGES_BUSY = 3072  # 12 MB: taken even under load, so that the WAL stays below 16 MB


class SqliteLog:
    """An `EventLog` in one SQLite file. `tail` is how many events are kept in memory.

    Raises:
        LogError: the file cannot be opened, belongs to another store, or the disk refuses what we insist on.
    """

    settings: ClassVar[tuple[str, ...]] = sql.SETTINGS

    def __init__(self, path: Path, store: str, *, tail: int = _TAIL) -> None:
        self._path = path
        self._failure: LogError | None = None
        self._closed = False
        self._db = log_file.open_writer(path, self.settings)
        try:
            log_file.insist(self._db, path)
            log_file.migrate(self._db)
            self._identify(store)
            row = self._db.execute(sql.HEAD).fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise log_file.unusable(path, error) from error
        except LogError:
            self._db.close()
            raise
        self._file = CommittedFile(path)
        self.head: tuple[int, str] = (row[0], row[1]) if row else (0, self.genesis)
        self._staged = self.head
        self._group: list[Sealed] = []
        self._group_receipts: dict[str, StoredReceipt] = {}
        self._undecided: set[str] = set()  # asked for in this group, and found nowhere
        self._event_rows: list[tuple[object, ...]] = []
        self._receipt_rows: list[tuple[object, ...]] = []
        self._tail: deque[Sealed] = deque(maxlen=tail)
        self._tail_lock = threading.Lock()

    # -- the engine's thread

    def receipt(self, command_id: str) -> StoredReceipt | None:
        if (staged := self._group_receipts.get(command_id)) is not None:
            return staged
        row = self._run(sql.GET_RECEIPT, (command_id,)).fetchone()
        if row is None:
            self._undecided.add(command_id)
            return None
        return StoredReceipt(bytes(row[0]), First(Outcome(row[1]), row[2]), row[3])

    def append(
        self, command_id: str, body_hash: bytes, first: First, events: Sequence[Event]
    ) -> list[Sealed]:
        self._begin()
        if command_id not in self._undecided and self.receipt(command_id) is not None:
            raise self._fail(sqlite3.IntegrityError(f"{command_id} was decided before"))
        sealed: list[Sealed] = []
        seq, prev = self._staged
        for event in events:
            one = chain.seal(event, seq=seq + 1, prev_hash=prev, store=self.store, epoch=self.epoch)
            sealed.append(one)
            seq, prev = one.seq, one.hash
        self._event_rows += [
            (s.seq, command_id, n, s.type, event.version, rfc3339(event.at), s.body, s.prev_hash, s.hash)
            for n, (s, event) in enumerate(zip(sealed, events, strict=True))
        ]
        first_seq, last_seq = (sealed[0].seq, sealed[-1].seq) if sealed else (None, None)
        self._receipt_rows.append(
            (command_id, body_hash, first.outcome.value, first.reason, first_seq, last_seq)
        )
        self._staged = (seq, prev)
        self._group += sealed
        self._undecided.discard(command_id)
        self._group_receipts[command_id] = StoredReceipt(body_hash, first, last_seq)
        return sealed

    def move_cursor(self, name: str, seq: int) -> None:
        self._begin()
        self._run(sql.MOVE_CURSOR, (name, seq))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._begin()
        self._run(sql.ADD_SNAPSHOT, (snapshot.seq, snapshot.state, snapshot.digest))
        self._run(sql.DROP_SNAPSHOTS)

    def commit(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._write(sql.add_events, self._event_rows)
        self._write(sql.add_receipts, self._receipt_rows)
        if self._db.in_transaction:
            self._run("COMMIT")
        with self._tail_lock:
            self._tail.extend(self._group)
            self.head = self._staged
        self._group, self._group_receipts = [], {}
        self._undecided.clear()
        self._event_rows, self._receipt_rows = [], []
        self._checkpoint(_CHECKPOINT_PAGES_BUSY)

    def idle(self) -> None:
        self._checkpoint(_CHECKPOINT_PAGES)

    # -- any thread

    def read(self, after: int, limit: int) -> list[Sealed]:
        with self._tail_lock:
            head = self.head[0]
            if after >= head:
                return []
            if self._tail and self._tail[0].seq <= after + 1:
                start = after + 1 - self._tail[0].seq
                return list(islice(self._tail, start, start + limit))
        return self._file.read(after, head, limit)

    def about(self, subject: str) -> Iterator[Sealed]:
        return self._file.about(subject, self.head[0])

    def hash_at(self, seq: int) -> str:
        head, digest = self.head
        if seq in (0, head):
            return digest if seq else self.genesis
        if seq > head:
            raise KeyError(seq)
        return self._file.hash_at(seq)

    def cursor(self, name: str) -> int:
        return self._file.cursor(name)

    def snapshot(self) -> Snapshot | None:
        return self._file.snapshot()

    def close(self) -> None:
        """Give up what is uncommitted, and close every connection. Again: nothing."""
        if self._closed:
            return
        self._closed = True
        self._failure = self._failure or log_file.closed(self._path)
        self._file.close()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._db.close()

    # -- inside: the write connection

    def _identify(self, store: str) -> None:
        """Set `store`, `epoch` and `genesis`: from the file, or minted into a new one."""
        self._db.execute("BEGIN IMMEDIATE")
        self.store = self._meta("store", store)
        if self.store != store:
            raise LogError(
                "log-of-another-store",
                f"{self._path} is the log of store {self.store}, not of {store}: use its own data directory.",
            )
        self.epoch = self._meta("epoch", secrets.token_hex(8))
        self.genesis = self._meta("genesis", chain.genesis(store, self.epoch))
        self._db.execute("COMMIT")

    def _meta(self, key: str, fresh: str) -> str:
        row = self._db.execute(sql.GET_META, (key,)).fetchone()
        if row is None:
            self._db.execute(sql.SET_META, (key, fresh))
        return str(row[0]) if row else fresh

    def _begin(self) -> None:
        if self._failure is not None:
            raise self._failure
        if not self._db.in_transaction:
            self._run("BEGIN IMMEDIATE")

    def _run(self, statement: str, values: Sequence[object] = ()) -> Any:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._fail(error) from error

    def _write(self, statement: Callable[[int], str], rows: Sequence[tuple[object, ...]]) -> None:
        """Insert a group's rows, many in one statement: each statement gives other threads the interpreter,
        which then has to be waited for."""
        done = 0
        while (left := len(rows) - done) > 0:
            size = min(sql.MOST_ROWS, 1 << left.bit_length() - 1)  # powers of two, so that few are prepared
            self._run(statement(size), [value for row in rows[done : done + size] for value in row])
            done += size

    def _fail(self, error: Exception) -> LogError:
        """Remember the first failure: SQLite may have rolled the group back by itself, so that a later
        commit would succeed with a hole in it."""
        self._failure = self._failure or _failed(self._path, error)
        return self._failure

    def _checkpoint(self, pages: int) -> None:
        if self._wal_pages() > pages:
            # TRUNCATE, so that the file's size tells how much there is to do. It would wait for readers:
            # without a timeout a busy one only puts the truncation off to the next time.
            self._run("PRAGMA busy_timeout = 0")
            self._run("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._run(f"PRAGMA busy_timeout = {sql.BUSY_MILLISECONDS}")

    def _wal_pages(self) -> int:
        try:
            return self._path.with_name(self._path.name + "-wal").stat().st_size // 4120
        except FileNotFoundError:
            return 0


def _failed(path: Path, error: Exception) -> LogError:
    if isinstance(error, sqlite3.IntegrityError):
        return LogError(
            "log-conflict",
            f"{path} has been written by somebody else, or a command was decided twice ({error}): "
            "make sure that only one gateway uses it.",
        )
    if "full" in str(error):
        return LogError(
            "disk-full",
            f"{path.parent} is full: free some space, then start again. Nothing acknowledged is lost.",
        )
    return LogError(
        "disk-failed", f"writing {path} failed ({error}): nothing more is acknowledged; check the disk."
    )
