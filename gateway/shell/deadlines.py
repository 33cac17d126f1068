"""A heap over the state's deadlines, so that the engine need not look at every visit to know when to wake."""

from __future__ import annotations

import heapq
from datetime import datetime

from gateway.core.state import State
from gateway.core.timers import deadline_of, subjects


class Deadlines:
    """Agrees with `core.timers.next_deadline`. No entry is later than its subject's deadline: one that turns out
    to be too early, when it comes up, gives way to the true one."""

    def __init__(self, state: State) -> None:
        self._heap: list[tuple[datetime, str]] = []
        for subject in subjects(state):
            self.touch(state, subject)

    def touch(self, state: State, subject: str) -> None:
        """Note the deadline of a subject that an event was about."""
        if (due := deadline_of(state, subject)) is not None:
            heapq.heappush(self._heap, (due, subject))

    def next(self, state: State) -> datetime | None:
        """The earliest deadline."""
        while self._heap:
            due, subject = self._heap[0]
            if (true := deadline_of(state, subject)) == due:
                return due
            heapq.heappop(self._heap)
            if true is not None:
                heapq.heappush(self._heap, (true, subject))
        return None

    def due(self, state: State, at: datetime, most: int = 200) -> tuple[str, ...]:
        """Take the subjects that are due at `at`, in order of their deadlines, `most` at once."""
        found: list[str] = []
        while len(found) < most and (due := self.next(state)) is not None and due <= at:
            found.append(heapq.heappop(self._heap)[1])
        return tuple(dict.fromkeys(found))
