"""The log's file, looked at from another process: committed events only, and nothing can be changed.

What the command line's `replay`, `verify` and `explain` read while the daemon goes on writing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gateway.core.chain import Sealed
from gateway.core.errors import LogError
from gateway.shell import log_file
from gateway.shell import log_sql as sql
from gateway.shell.log import Snapshot

_SCAN = 20_000


class LogView:
    """The read side of an `EventLog`, as it stood when it was opened.

    Raises:
        LogError: `log-missing`, `log-unusable`.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LogError(
                "log-missing", f"There is no log at {path}: has the gateway run with this configuration?"
            )
        self._path = path
        self._readers = log_file.Readers(path)
        row = next(iter(self._ask(sql.HEAD)), None)
        self.store = self._meta("store")
        self.epoch = self._meta("epoch")
        self.genesis = self._meta("genesis")
        self.head: tuple[int, str] = (row[0], row[1]) if row else (0, self.genesis)

    def read(self, after: int, limit: int) -> list[Sealed]:
        """Up to `limit` events after `after`."""
        return [Sealed(*row) for row in self._ask(sql.READ, (after, self.head[0], limit))]

    def about(self, subject: str) -> Iterator[Sealed]:
        """Every event about `subject`, in order."""
        head = self.head[0]
        for after in range(0, head, _SCAN):
            for row in self._ask(sql.ABOUT, (after, min(after + _SCAN, head), subject)):
                yield Sealed(*row)

    def hash_at(self, seq: int) -> str:
        """The hash of event `seq`.

        Raises:
            KeyError: there is no such event.
        """
        if seq == 0:
            return self.genesis
        for row in self._ask(sql.HASH_AT, (seq,)):
            return str(row[0])
        raise KeyError(seq)

    def snapshot(self) -> Snapshot | None:
        """The newest snapshot that is not newer than what we look at."""
        rows = self._ask(sql.GET_SNAPSHOT)
        return Snapshot(rows[0][0], bytes(rows[0][1]), rows[0][2]) if rows else None

    def close(self) -> None:
        """Close the file."""
        self._readers.close()

    def _meta(self, key: str) -> str:
        for row in self._ask(sql.GET_META, (key,)):
            return str(row[0])
        raise LogError("log-unusable", f"{self._path} is not a log of ours: it has no {key}.")

    def _ask(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            with self._readers.one() as connection:
                return list(connection.execute(statement, values))
        except log_file.sqlite3.Error as error:
            raise log_file.unusable(self._path, error) from error
