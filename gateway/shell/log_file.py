"""Opening the log's file: one write connection whose durability is checked, and a pool of query-only ones."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlite_utils.utils
from sqlite_utils import Database

from gateway.core.codec import rfc3339
from gateway.core.errors import LogError
from gateway.shell import log_sql as sql

sqlite3 = sqlite_utils.utils.sqlite3  # type: ignore[attr-defined]  # the newest SQLite it found, not re-exported


def open_writer(path: Path, settings: Sequence[str]) -> Any:
    """The write connection, on a file that only we may read (0600).

    Raises:
        LogError: `log-unusable`.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
        connection = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unusable(path, error) from error
    try:
        _set(connection, settings)
    except sqlite3.Error as error:
        connection.close()
        raise unusable(path, error) from error
    return connection


def insist(connection: Any, path: Path) -> None:
    """Ask SQLite what it will really do: some file systems quietly refuse WAL.

    Raises:
        LogError: `log-not-durable`: a commit would not survive a power cut.
    """
    for pragma, wanted in sql.WANTED.items():
        if (got := connection.execute(f"PRAGMA {pragma}").fetchone()[0]) != wanted:
            raise LogError(
                "log-not-durable",
                f"SQLite keeps {pragma}={got} on {path}, not {wanted}: "
                "put the data directory on a local disk.",
            )


def migrate(connection: Any) -> None:
    """Apply what has not been applied, each in one transaction together with its record."""
    db = Database(connection)
    db.conn.execute(sql.MIGRATIONS_TABLE)
    done = {row[0] for row in db.conn.execute(sql.APPLIED)}
    for name, script in sql.MIGRATIONS:
        if name not in done:
            applied = rfc3339(datetime.now(UTC))
            record = f"INSERT INTO migrations VALUES ('{name}', '{applied}');"
            db.conn.executescript(f"BEGIN IMMEDIATE; {script} {record} COMMIT;")


def unusable(path: Path, error: Exception) -> LogError:
    """What to raise when the file cannot be opened or set up."""
    return LogError("log-unusable", f"{path} cannot be used: {error}. Check the disk and the file's owner.")


def closed(path: Path) -> LogError:
    """What to raise when somebody still asks after the end."""
    return LogError("log-closed", f"{path} has been closed: the gateway is stopping.")


class Readers:
    """Query-only connections that never checkpoint: as many as there are threads reading at one time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[Any] | None = []  # None: closed

    @contextmanager
    def one(self) -> Iterator[Any]:
        """A connection of the caller's alone while it lasts.

        Raises:
            LogError: `log-closed`.
        """
        with self._lock:
            if self._idle is None:
                raise closed(self._path)
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            yield connection
        finally:
            with self._lock:
                keep = self._idle is not None
                if self._idle is not None:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    def close(self) -> None:
        """Close the idle ones now and the others when they come back."""
        with self._lock:
            idle, self._idle = self._idle or [], None
        for connection in idle:
            connection.close()

    def _connect(self) -> Any:
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        _set(connection, sql.READER_SETTINGS)
        return connection


def _set(connection: Any, settings: Sequence[str]) -> None:
    for setting in settings:
        connection.execute(f"PRAGMA {setting}")
