"""A data directory, opened: what both the daemon and a command without a daemon work on."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.settings_model import Settings
from gateway.shell.access import Access
from gateway.shell.clock import Clock
from gateway.shell.directory import Directory
from gateway.shell.keys import Keys
from gateway.shell.lock import DataDir
from gateway.shell.sqlite_log import SqliteLog

LOG, DIRECTORY, KEYS = "log.db", "directory.db", "keys.db"


@dataclass(frozen=True)
class Stores:
    """The three files of a store, held by one process. `close` lets the next one in."""

    held: DataDir
    keys: Keys
    access: Access
    log: SqliteLog
    directory: Directory
    clock: Clock

    @property
    def path(self) -> Path:
        """The data directory."""
        return self.held.path

    def close(self) -> None:
        """Close all three and give the directory back."""
        self.directory.close()
        self.log.close()
        self.keys.close()
        self.held.release()


def open_stores(settings: Settings) -> Stores:
    """Take the data directory and open what is in it; new files are made where there are none.

    Raises:
        Refused: `data-dir-in-use`, `data-dir-unusable`.
        SogliaError: a file in it cannot be used; says which.
    """
    with contextlib.ExitStack() as undo:
        held = DataDir.hold(settings.data_dir)
        undo.callback(held.release)
        keys = Keys.open(held.path / KEYS)
        undo.callback(keys.close)
        log = SqliteLog(held.path / LOG, settings.store.id)
        undo.callback(log.close)
        credential_key = keys.secret("credential")
        directory = Directory.open(held.path / DIRECTORY, credential_key, settings.store.id)
        undo.pop_all()
    return Stores(held, keys, Access(keys), log, directory, Clock(_last_time(log)))


def local_day(at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The store's calendar day that `at` is in: from midnight to midnight, in UTC."""
    date = at.astimezone(zone).date()
    start = datetime.combine(date, time(), zone)
    end = datetime.combine(date + timedelta(days=1), time(), zone)
    return start.astimezone(UTC), end.astimezone(UTC)


def _last_time(log: SqliteLog) -> datetime | None:
    """When the last event was: time never runs backwards over a restart."""
    last = log.read(log.head[0] - 1, 1) if log.head[0] else []
    return last[0].event.at if last else None
