"""The seam of a reader: raw bytes in, one receipt out.

A reader runs in a thread of its own, started by the supervisor. It blocks in `run`, hands every `Read` to
`deliver` and may wait on the future it gets to beep: the future resolves only after the gateway's COMMIT.

    do      raise `ReaderError` when the device is gone or hangs: the supervisor closes, waits and opens again
    do      mint the read's id once, when the device speaks, and keep it over retries
    do      look at `stop` at least every 100 ms
    don't   swallow an exception, decode, debounce across readers, or keep a read for later
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from gateway.core.model import Read
from gateway.core.receipts import Receipt

Deliver = Callable[[Read], "Future[Receipt]"]


class Reader(Protocol):
    """One device. `id` is its name in the configuration."""

    @property
    def id(self) -> str: ...

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Read until `stop` is set. `ready` is called each time the device has been opened and works.

        Raises:
            ReaderError: the device failed; `run` may be called again.
        """
        ...
