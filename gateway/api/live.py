"""What runs behind the routes: waking whoever waits for a commit, and a few threads for what blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_THREADS = 6


class Watch:
    """One who waits. Register, then look at the log, then wait: no commit is missed in between."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Whether something was committed, or the gateway is closing, within `seconds`."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def wake(self) -> None:
        """End the wait. On the loop only."""
        self._event.set()


class Live:
    """The bridge from the engine's thread to the event loop.

    do      keep blocking calls on `blocking`: its threads live as long as the server does, so that the
            connections which the log and the directory keep per thread stay few
    """

    def __init__(self, on_commit: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        self._on_commit = on_commit
        self._watches: set[Watch] = set()
        self._pending = False
        self.closing = False

    def start(self) -> None:
        """Begin, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(_THREADS, "soglia-api")
        self._unsubscribe = self._on_commit(self._from_engine)

    def stop(self) -> None:
        """End: nobody is woken any more, and the threads are gone."""
        self.close()
        self._unsubscribe()
        self._threads.shutdown()

    def close(self) -> None:
        """Let every stream and every long poll end now. On the loop only."""
        self.closing = True
        self._notify()

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """A registered `Watch`."""
        watch = Watch()
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    @property
    def watching(self) -> int:
        """How many wait."""
        return len(self._watches)

    async def blocking(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of a call that reads a disk or computes, made in a thread."""
        return await self._loop.run_in_executor(self._threads, partial(function, *args, **kwargs))

    def _from_engine(self) -> None:
        if self._watches and not self._pending:
            self._pending = True
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                self._loop.call_soon_threadsafe(self._notify)

    def _notify(self) -> None:
        self._pending = False
        for watch in self._watches:
            watch.wake()


async def outcome(future: Future[R]) -> R:
    """The result of the engine's future. A caller who goes away does not take the command back."""
    return await asyncio.shield(asyncio.wrap_future(future))
