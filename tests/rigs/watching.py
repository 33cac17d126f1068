"""Running a reader in a test: a thread, what it delivered, and how it ended."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

from devices.reader import Reader
from gateway.core.model import Read
from gateway.core.receipts import Outcome, Receipt


def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Return as soon as `condition` holds; fail after `seconds`."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "the condition never held"
        time.sleep(0.005)


class Watch:
    """What a running reader did. Every read is answered at once with `outcome`."""

    def __init__(self, outcome: Outcome = Outcome.ACCEPTED) -> None:
        self.reads: list[Read] = []
        self.ready = threading.Event()
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._outcome = outcome
        self._thread: threading.Thread | None = None

    def deliver(self, read: Read) -> Future[Receipt]:
        self.reads.append(read)
        answer: Future[Receipt] = Future()
        answer.set_result(Receipt(f"read:{read.reader}:{read.id}", self._outcome))
        return answer

    @property
    def fields(self) -> list[Mapping[str, object]]:
        return [read.data for read in self.reads]

    @property
    def ended(self) -> bool:
        return self._thread is not None and not self._thread.is_alive()

    def start(self, reader: Reader) -> None:
        def run() -> None:
            try:
                reader.run(self.deliver, self.stop, self.ready.set)
            except Exception as error:  # noqa: BLE001  the test looks at it
                self.error = error

        self._thread = threading.Thread(target=run, name=f"watch-{reader.id}")
        self._thread.start()

    def join(self, seconds: float = 20.0) -> None:
        assert self._thread is not None
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the reader did not stop"

    def wait_reads(self, count: int) -> list[Mapping[str, object]]:
        """Wait for so many reads, or for the reader to fail; the fields of all so far."""
        wait_for(lambda: len(self.reads) >= count or self.error)
        if self.error:
            raise self.error
        return self.fields


@contextlib.contextmanager
def running(reader: Reader, outcome: Outcome = Outcome.ACCEPTED) -> Iterator[Watch]:
    """A reader that runs and is ready; stopped and joined at the end."""
    watch = Watch(outcome)
    watch.start(reader)
    try:
        wait_for(lambda: watch.ready.is_set() or watch.ended)
        yield watch
    finally:
        watch.stop.set()
        watch.join()
