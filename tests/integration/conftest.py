"""One store for the stories of a day: the real daemon, once with the embedded broker and once with Mosquitto."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rigs.daemon import Daemon, opened
from tests.rigs.days import CALENDAR, Day, broker_table, clerks, feed
from tests.rigs.mosquitto import Mosquitto, free_port, needs_mosquitto

SCOPES = ("platform", "operator", "clerk:marco", "clerk:giulia", "reader:door-1", "kiosk:entrance")
CALCOM_SECRET = "the secret of the webhook"


@pytest.fixture(scope="session", params=["embedded", pytest.param("mosquitto", marks=needs_mosquitto)])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The store, open, with its clerks on shift and everybody connected."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "calcom.secret").write_text(CALCOM_SECRET)
    (folder / "calcom.secret").chmod(0o600)
    (folder / "marco.ics").write_bytes(feed("zoe@example.org", minutes=9))
    port = free_port()
    table = broker_table(folder, port) if request.param == "mosquitto" else ""
    with opened(Daemon(folder, broker=table, more=CALENDAR)) as daemon:
        daemon.issue(*SCOPES)
        if request.param == "mosquitto":
            yield from _with_mosquitto(daemon, folder, port)
        else:
            yield Day(daemon.start(), clerks())


def _with_mosquitto(daemon: Daemon, folder: Path, port: int) -> Iterator[Day]:
    files = daemon.soglia("broker", "export", "--to", str(folder)).json["files"]
    acl, passwords = ((folder / name).read_text() for name in sorted(files))
    broker = Mosquitto(folder / "mosquitto", passwords, acl, "", port)
    broker.start()
    try:
        yield Day(daemon.start(), clerks())
    finally:
        daemon.close()
        broker.stop()
