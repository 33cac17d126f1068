"""A reader without a device, for tests and for those who try things out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping

from devices.reader import Deliver
from devices.reads import mint
from gateway.core.errors import ReaderError
from gateway.core.model import Technology


class FakeReader:
    """Delivers what it is given with `present`. `unplug` fails the running reader, and every run after it
    until `replug`. Both may be called from any thread."""

    def __init__(self, reader_id: str, technology: Technology = Technology.QR) -> None:
        self._id = reader_id
        self._technology = technology
        self._shown: queue.SimpleQueue[Mapping[str, object]] = queue.SimpleQueue()
        self._unplugged = threading.Event()

    @property
    def id(self) -> str:
        return self._id

    def present(self, fields: Mapping[str, object]) -> None:
        """Show something once; it is delivered while the reader runs."""
        self._shown.put(fields)

    def unplug(self) -> None:
        """Pull the cable."""
        self._unplugged.set()

    def replug(self) -> None:
        """Put it back."""
        self._unplugged.clear()

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Deliver until stopped.

        Raises:
            ReaderError: fake-unplugged.
        """
        self._check()
        ready()
        while not stop.is_set():
            self._check()
            try:
                fields = self._shown.get(timeout=0.02)
            except queue.Empty:
                continue
            deliver(mint(self._id, self._technology, fields))

    def _check(self) -> None:
        if self._unplugged.is_set():
            raise ReaderError("fake-unplugged", "The fake reader is unplugged; call `replug`.")
