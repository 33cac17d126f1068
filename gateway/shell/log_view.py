"""Looking at what is committed in the log's file: from the daemon's own threads, and from other processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.core.chain import Sealed
from gateway.core.errors import LogError
from gateway.shell import log_file
from gateway.shell import log_sql as sql
from gateway.shell.log import Snapshot

_SCAN = 20_000  # rows a search reads at a time, so that no slow reader holds back a checkpoint


class CommittedFile:
    """The file's committed rows; whoever asks says up to which event (`head`) it may look.

    Every method raises `LogError` (`disk-failed`, `log-closed`) when the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._readers = log_file.Readers(path)

    def read(self, after: int, head: int, limit: int) -> list[Sealed]:
        """Up to `limit` events after `after`."""
        return [Sealed(*row) for row in self._ask(sql.READ, (after, head, limit))]

    def about(self, subject: str, head: int) -> Iterator[Sealed]:
        """Every event about `subject`, in order."""
        for after in range(0, head, _SCAN):
            for row in self._ask(sql.ABOUT, (after, min(after + _SCAN, head), subject)):
                yield Sealed(*row)

    def hash_at(self, seq: int) -> str:
        """The hash of event `seq`.

        Raises:
            KeyError: there is no such event.
        """
        for row in self._ask(sql.HASH_AT, (seq,)):
            return str(row[0])
        raise KeyError(seq)

    def last(self) -> tuple[int, str] | None:
        """Sequence and hash of the last event."""
        return next(((row[0], row[1]) for row in self._ask(sql.HEAD)), None)

    def cursor(self, name: str) -> int:
        """A follower's cursor; 0 for a new one."""
        return next((int(row[0]) for row in self._ask(sql.GET_CURSOR, (name,))), 0)

    def snapshot(self) -> Snapshot | None:
        """The newest snapshot."""
        rows = self._ask(sql.GET_SNAPSHOT)
        return Snapshot(rows[0][0], bytes(rows[0][1]), rows[0][2]) if rows else None

    def meta(self, key: str) -> str | None:
        """What the file says of itself: `store`, `epoch`, `genesis`."""
        return next((str(row[0]) for row in self._ask(sql.GET_META, (key,))), None)

    def close(self) -> None:
        """Close every connection."""
        self._readers.close()

    def _ask(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows at once: an open statement would hold back the checkpoint."""
        try:
            with self._readers.one() as reader:
                rows: list[Any] = reader.execute(statement, values).fetchall()
                return rows
        except log_file.sqlite3.Error as error:
            raise LogError(
                "disk-failed", f"reading {self._path} failed ({error}): check the disk."
            ) from error


class LogView:
    """A `CommittedLog` for another process, as the log stood when this was opened; it cannot change anything.

    Raises:
        LogError: `log-missing`, `log-unusable`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LogError(
                "log-missing", f"There is no log at {path}: has the gateway run with this configuration?"
            )
        self._file = CommittedFile(path)
        store, epoch, genesis = (self._file.meta(key) for key in ("store", "epoch", "genesis"))
        if store is None or epoch is None or genesis is None:
            raise LogError("log-unusable", f"{path} is not a log of ours.")
        self.store, self.epoch, self.genesis = store, epoch, genesis
        self.head = self._file.last() or (0, genesis)

    def read(self, after: int, limit: int) -> list[Sealed]:
        """See `CommittedLog.read`."""
        return self._file.read(after, self.head[0], limit)

    def about(self, subject: str) -> Iterator[Sealed]:
        """See `CommittedLog.about`."""
        return self._file.about(subject, self.head[0])

    def hash_at(self, seq: int) -> str:
        """See `CommittedLog.hash_at`."""
        return self._file.hash_at(seq) if seq else self.genesis

    def snapshot(self) -> Snapshot | None:
        """See `CommittedLog.snapshot`."""
        return self._file.snapshot()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
