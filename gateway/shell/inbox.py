"""The only queue: bounded, and it never drops in silence. What does not fit is refused at the door."""

from __future__ import annotations

import queue
from concurrent.futures import Future
from dataclasses import dataclass, field

from gateway.core.commands import Command
from gateway.core.receipts import Receipt
from gateway.shell.log import Snapshot


@dataclass(frozen=True, slots=True)
class Submission:
    """A command with the canonical bytes of what its caller said, and where its receipt goes."""

    command: Command
    said: bytes
    receipt: Future[Receipt] = field(default_factory=Future)


@dataclass(frozen=True, slots=True)
class CursorMove:
    """A follower's cursor, to be made durable with the next group; the future gives the cursor as it then is."""

    name: str
    seq: int
    done: Future[int] = field(default_factory=Future)


class Wake:
    """Nothing to do but look at the clock, or end."""


Item = Submission | CursorMove | Snapshot | Wake


class Inbox:
    """A first-in first-out queue with room for `size` items. `put` never blocks."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()

    def put(self, item: Item) -> bool:
        """Queue `item`; False when there is no room for one more submission."""
        if isinstance(item, Submission) and self._queue.qsize() >= self._size:
            return False
        self._queue.put(item)
        return True

    def __len__(self) -> int:
        return self._queue.qsize()

    def take(self, timeout: float | None, most: int) -> list[Item]:
        """Wait up to `timeout` seconds for something, then take what is there, `most` items at the most."""
        try:
            items = [self._queue.get(timeout=timeout)]
        except queue.Empty:
            return []
        while len(items) < most:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return items
