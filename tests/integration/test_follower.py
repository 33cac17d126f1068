"""What the floor hears when the broker does not take it: later, in order, and nobody waits or spins for it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core import events as ev
from gateway.core.errors import LogError, PeerError
from gateway.core.receipts import First, Outcome
from gateway.shell.broker import Message
from gateway.shell.follower import FloorFollower
from gateway.testing import FakeBroker, MemoryLog


class Congested(FakeBroker):
    """A broker that is connected, and for a while takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.asked = 0

    def publish_all(self, messages: Sequence[Message]) -> list[Future[None]]:
        self.asked += 1
        if not self.full:
            return super().publish_all(messages)
        failed: list[Future[None]] = []
        for _ in messages:
            failed.append(Future())
            failed[-1].set_exception(PeerError("broker-congested", "Not now."))
        return failed


class Shop:
    """A follower on a log of alerts."""

    def __init__(self) -> None:
        self.log, self.broker = MemoryLog("milano-01"), Congested()
        self.broker.start((), lambda delivery: None, lambda up: None)
        self.fatal: list[LogError] = []
        self.noted: list[int] = []
        self.follower = FloorFollower(
            self.log,
            self.broker,
            lambda: datetime.now(UTC),
            lambda name, seq: self.noted.append(seq),
            self.fatal.append,
        )

    def commit(self, number: int) -> None:
        """One alert more, and what the engine does after a commit."""
        now = datetime.now(UTC)
        alerted = ev.VisitAlerted(
            at=now,
            visit=f"visit-{number}",
            alert=f"alert-{number}",
            level="clerk",
            to="marco",
            attempt=1,
            match="expected",
            zone="door",
            expires_at=now + timedelta(minutes=15),
        )
        self.log.append(f"cmd-{number}", b"", First(Outcome.ACCEPTED), [alerted])
        self.log.commit()
        self.follower.committed()

    @property
    def heard(self) -> list[str]:
        alerts = [m for m in self.broker.sent if m.topic.endswith("/alerts")]
        return list(dict.fromkeys(json.loads(m.payload)["data"]["alert"] for m in alerts))


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    shop.follower.stop()
    shop.broker.stop()
    assert not shop.fatal


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)


def test_a_broker_that_takes_nothing_does_not_hold_up_the_commit(shop: Shop) -> None:
    shop.broker.full = True
    engine = threading.Thread(target=shop.commit, args=(1,), daemon=True)
    engine.start()
    engine.join(10)
    assert not engine.is_alive(), "it sends the same again and again"
    assert shop.broker.asked == 1


def test_what_was_not_taken_is_sent_without_another_commit(shop: Shop) -> None:
    shop.follower.start()
    shop.commit(1)
    shop.broker.full = True
    shop.commit(2)
    shop.commit(3)
    time.sleep(0.5)
    assert shop.broker.asked < 20, "and asks now and then only"
    shop.broker.full = False
    until(lambda: shop.heard == ["alert-1", "alert-2", "alert-3"])
    until(lambda: shop.noted[-1:] == [3])
