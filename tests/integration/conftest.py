"""One store for the stories of a day: the real daemon, once with the embedded broker and once with Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.daemon import Daemon, opened
from tests.rigs.days import CALENDAR, Day, beside_mosquitto, clerks, feed
from tests.rigs.mosquitto import needs_mosquitto

SCOPES = ("platform", "operator", "clerk:marco", "clerk:giulia", "reader:door-1", "kiosk:entrance")
CALCOM_SECRET = "the secret of the webhook"


@pytest.fixture(scope="session", params=["embedded", pytest.param("mosquitto", marks=needs_mosquitto)])
def whole_day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The store, open, with its clerks on shift and everybody connected."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "calcom.secret").write_text(CALCOM_SECRET)
    (folder / "calcom.secret").chmod(0o600)
    (folder / "marco.ics").write_bytes(feed("zoe@example.org", minutes=9))
    if request.param == "mosquitto":
        yield from _with_mosquitto(folder)
        return
    with opened(Daemon(folder, more=CALENDAR)) as daemon:
        daemon.issue(*SCOPES)
        yield Day(daemon.start(), clerks())


@pytest.fixture
def day(whole_day: Day) -> Day:
    """The store, which is still there."""
    daemon = whole_day.daemon
    assert daemon.child.poll() is None, f"the daemon has ended: {daemon.said[-2000:]}"
    return whole_day


def _with_mosquitto(folder: Path) -> Iterator[Day]:
    daemon, broker = beside_mosquitto(folder, SCOPES, more=CALENDAR)
    broker.start()
    try:
        yield Day(daemon.start(), clerks())
    finally:
        daemon.close()
        broker.stop()
