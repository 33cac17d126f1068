"""Gateways that are broken on purpose: the negative controls of the fault tests.

    python -m tests.rigs.broken NAME run --config FILE

A fault test that a broken gateway passes proves nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import Future

from gateway import cli
from gateway.core.commands import Command
from gateway.core.receipts import Outcome, Receipt
from gateway.shell.engine import Engine, Release
from gateway.shell.follower import FloorFollower

PAUSE = 0.03
LONG_PAUSE = 1.0


def acknowledges_before_commit() -> None:
    """Receipts leave, and then the group is committed."""
    commit = Engine._commit

    def broken(self: Engine, releases: list[Release]) -> None:
        self._release(releases)
        time.sleep(PAUSE)
        commit(self, [])

    Engine._commit = broken  # type: ignore[method-assign]  # breaking it is the point


def answers_at_the_door() -> None:
    """What is queued counts as done; and what is queued at the end is dropped."""
    submit, turn = Engine.submit, Engine._turn

    def broken(self: Engine, command: Command, said: bytes = b"") -> Future[Receipt]:
        submit(self, command, said)
        answered: Future[Receipt] = Future()
        answered.set_result(Receipt(command.id, Outcome.ACCEPTED))
        return answered

    def slow(self: Engine) -> None:
        time.sleep(LONG_PAUSE)
        if self._stopping.is_set():
            self._inbox.take(0, sys.maxsize)
        else:
            turn(self)

    Engine.submit = broken  # type: ignore[method-assign]
    Engine._turn = slow  # type: ignore[method-assign]


def trusts_the_broker() -> None:
    """What was handed to the broker counts as heard, whether or not there is one."""

    def broken(self: FloorFollower) -> None:
        if page := self._log.read(self._sent, 10_000):
            self._send(page)
        self._in_flight.clear()
        self._settle()

    FloorFollower._turn = broken  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (acknowledges_before_commit, answers_at_the_door, trusts_the_broker)
}


def program(broken: Callable[[], None]) -> tuple[str, ...]:
    """The command that starts such a gateway."""
    return sys.executable, "-m", "tests.rigs.broken", broken.__name__


if __name__ == "__main__":
    BREAKS[sys.argv[1]]()
    sys.exit(cli.main(sys.argv[2:]))
