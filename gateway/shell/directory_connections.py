"""The connections to `directory.db`: one writer in each process, one query-only reader in each thread.

The daemon and the importer's child write the same file. SQLite before 3.51.3 may corrupt a file when two
connections write or checkpoint at the same instant, and its busy handler sleeps, so the writers take turns
by a lock of their own: a thread lock within the process and `flock` on `directory.db-turn` between processes,
held for one short transaction and the checkpoint that its commit may start. The kernel frees it when a
process dies. Readers never wait for it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]  # pysqlite3 where it is installed

from gateway.core.errors import LogError, PeerError
from gateway.shell.directory_sql import MIGRATIONS

TURN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.002
# Rows land all over the trees: a larger cache, and fewer checkpoints that write the same page again.
_BULK: Final = ("cache_size = -65536", "wal_autocheckpoint = 8000")


class Connections:
    """Opened with the schema migrated. `bulk` takes more memory to write faster.

    Raises:
        LogError: the file cannot be opened, is no database, or its disk fails.
    """

    def __init__(self, path: Path, bulk: bool = False) -> None:
        self._path = path
        self._bulk = bulk
        self._lock = threading.RLock()
        self._readers: dict[threading.Thread, Database] = {}
        self._turn = os.open(f"{path}-turn", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._taking_turns(), _our_disk():
                self._writer = self._open_writer()
        except BaseException:
            os.close(self._turn)
            raise
        self._closed = False

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A write transaction; committed, with an fsync, when the block ends, rolled back when it raises.

        Raises:
            LogError: our disk failed; nothing of the block is certain to be there.
            PeerError: the other process kept its turn for too long (`directory-busy`).
        """
        with self._taking_turns(), _our_disk():
            connection = self._writer.conn
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """This thread's query-only connection.

        Raises:
            LogError: our disk failed.
        """
        with _our_disk():
            reader = self._readers.get(threading.current_thread())
            yield (reader or self._open_reader()).conn

    def truncate_wal(self) -> None:
        """Empty the write-ahead log into the file, so that what was erased is gone from it too."""
        with self._taking_turns(), _our_disk():
            self._writer.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            with self._taking_turns():
                for reader in self._readers.values():
                    reader.close()
                self._readers.clear()
                self._writer.close()
            os.close(self._turn)
            self._closed = True

    def _open_writer(self) -> Database:
        database = self._connect()
        try:
            database.enable_wal()
            for pragma in ("synchronous = FULL", "secure_delete = ON", *(_BULK if self._bulk else ())):
                database.conn.execute(f"PRAGMA {pragma}").fetchall()
            if MIGRATIONS.pending(database):
                MIGRATIONS.apply(database)
            synchronous = database.conn.execute("PRAGMA synchronous").fetchone()[0]
            if (database.journal_mode, synchronous) != ("wal", 2):
                raise LogError("directory-not-durable", "directory.db refuses WAL with synchronous=FULL.")
        except BaseException:
            database.close()
            raise
        return database

    def _open_reader(self) -> Database:
        database = self._connect()
        for pragma in ("query_only = ON", "wal_autocheckpoint = 0"):
            database.conn.execute(f"PRAGMA {pragma}").fetchall()
        with self._lock:
            for thread in [thread for thread in self._readers if not thread.is_alive()]:
                self._readers.pop(thread).close()
            self._readers[threading.current_thread()] = database
        return database

    def _connect(self) -> Database:
        # Readers are closed by another thread than theirs, after it has ended.
        connection = sqlite3.connect(
            str(self._path), timeout=TURN_SECONDS, isolation_level=None, check_same_thread=False
        )
        return Database(connection, execute_plugins=False)

    @contextmanager
    def _taking_turns(self) -> Iterator[None]:
        with self._lock:
            deadline = time.monotonic() + TURN_SECONDS
            while not _try_lock(self._turn):
                if time.monotonic() > deadline:
                    raise PeerError(
                        "directory-busy",
                        "Another process keeps directory.db locked; end it, or wait and try again.",
                    )
                time.sleep(_POLL_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(self._turn, fcntl.LOCK_UN)


def _try_lock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


@contextmanager
def _our_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LogError(
            "directory-failed", f"directory.db failed ({error}): check the disk, then restart."
        ) from error
