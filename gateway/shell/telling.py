"""What the directory has and the log has not heard of yet: appointments and clerks, told as idempotent commands.

The directory is written first. A crash in between is made good at the next start, because the directory itself
remembers how far the log has been told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime

from gateway.core import commands as cmd
from gateway.core.errors import LogError
from gateway.core.model import Appointment
from gateway.core.receipts import Receipt
from gateway.shell.directory import Directory
from gateway.shell.directory_rows import Change
from gateway.shell.intake import Submit

_WAIT_SECONDS = 30.0
_AT_ONCE = 1_000


class Teller:
    """Tells the log, one caller at a time. `tell` blocks until everything known so far is committed."""

    def __init__(self, directory: Directory, submit: Submit, now: Callable[[], datetime]) -> None:
        self._directory = directory
        self._submit = submit
        self._now = now
        self._turn = threading.Lock()

    def tell(self) -> int:
        """Tell the log of every change it has not heard of; how many there were.

        Raises:
            LogError: `log-not-told`, the engine is stopping; the next start goes on from here.
        """
        with self._turn:
            changes = self._directory.changes_since(self._directory.told())
            for first in range(0, len(changes), _AT_ONCE):
                page = changes[first : first + _AT_ONCE]
                for told in [self._one(change) for change in page]:
                    if told.result(_WAIT_SECONDS).reason == "busy":
                        raise LogError("log-not-told", "The gateway is stopping: send the records again.")
                self._directory.mark_told(page[-1].seq)
        return len(changes)

    def _one(self, change: Change) -> Future[Receipt]:
        return self._submit(_command(change, self._now()), b"")


def _command(change: Change, at: datetime) -> cmd.Command:
    record = change.subject
    kind = "appointment" if isinstance(record, Appointment) else "clerk"
    name = f"dir:{kind}:{record.id}:{record.version}"
    if isinstance(record, Appointment):
        return cmd.PlanAppointment(id=name, at=at, appointment=record)
    return cmd.RosterClerk(id=name, at=at, clerk=record, removed=change.removed)
