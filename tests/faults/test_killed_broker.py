"""The broker is killed, or is not there yet: local readers go on, and every visitor's alert arrives in the end."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.rigs.broken import program, trusts_the_broker
from tests.rigs.daemon import HERE, TABLES, Daemon, opened
from tests.rigs.days import beside_mosquitto
from tests.rigs.mosquitto import Mosquitto, needs_mosquitto
from tests.rigs.ordeal import SCOPES, Account, Tablet, account, code, populate, settle, verified_events
from tests.rigs.station import Station, read_event

READS, EVERY, KILLS = 30, 0.12, 3
LOCAL = """
[[readers]]
id = "scanner"
type = "replay"
zone = "door"
path = "script.ndjson"
"""
SOON = "[escalation]\ndelivered_seconds = 1\n"  # an alert that no tablet has shown is sent once more
NEVER = "[escalation]\ndelivered_seconds = 59\n"


@pytest.fixture
def undo() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def script(folder: Path, reads: int, pause: float) -> None:
    """The scanner sees visitor 0, 1, 2 …"""
    steps = [{"after": pause, "technology": "qr", "data": {"payload": code(n)}} for n in range(reads)]
    (folder / "script.ndjson").write_text("".join(json.dumps(step) + "\n" for step in steps))


def embedded(folder: Path, more: str, run: Sequence[str]) -> tuple[Daemon, Callable[[], None]]:
    """A store with the embedded broker, and what kills that."""
    daemon = Daemon(folder, more=more, tables=TABLES + LOCAL, program=run)
    return daemon, lambda: os.kill(daemon.broker_pid(), signal.SIGKILL)


def outage(daemon: Daemon, kill: Callable[[], None], patience: float = 40) -> tuple[Account, int]:
    """Kill the broker while the scanner reads; the account, and how many visits' alerts the tablet has heard."""
    script(daemon.folder, 0, 0)
    daemon.start()
    populate(daemon, READS)
    daemon.stop()
    script(daemon.folder, READS, EVERY)
    daemon.start()
    tablet = Tablet(daemon)
    try:
        for _ in range(KILLS):
            time.sleep(READS * EVERY / (KILLS + 1))
            kill()
        deadline = time.monotonic() + 40
        while sum(e["type"] == "soglia.visit.opened.v1" for e in daemon.events()) < READS:
            assert time.monotonic() < deadline, "local reads need no broker"
            time.sleep(0.1)
        settle(daemon, tablet, patience)
        return account(verified_events(daemon), {}), len(set(tablet.alerted.values()))
    finally:
        tablet.close()


def test_the_embedded_broker_is_killed_and_no_alert_is_missed(
    tmp_path: Path, undo: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon, kill = embedded(tmp_path, SOON, HERE)
    undo.enter_context(opened(daemon))
    daemon.issue(*SCOPES)
    found, alerted = outage(daemon, kill)
    with capsys.disabled():
        print(f"\n  {KILLS} kills of the embedded broker: {alerted} of {READS} visits alerted; {found}")
    assert found.clean, found
    assert (found.visits, alerted) == (READS, READS)


@needs_mosquitto
def test_mosquitto_is_killed_and_no_alert_is_missed(
    tmp_path: Path, undo: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon, broker = beside_mosquitto(tmp_path, SCOPES, more=SOON, tables=TABLES + LOCAL)
    broker.start()
    undo.callback(broker.stop)
    undo.enter_context(opened(daemon))

    def kill() -> None:
        broker.stop(signal.SIGKILL)
        time.sleep(0.3)
        broker.start()

    found, alerted = outage(daemon, kill)
    with capsys.disabled():
        print(f"\n  {KILLS} kills of Mosquitto: {alerted} of {READS} visits alerted; {found}")
    assert found.clean, found
    assert (found.visits, alerted) == (READS, READS)


def test_a_gateway_that_trusts_the_broker_is_caught(
    tmp_path: Path, undo: ExitStack, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon, kill = embedded(tmp_path, NEVER, program(trusts_the_broker))
    undo.enter_context(opened(daemon))
    daemon.issue(*SCOPES)
    found, alerted = outage(daemon, kill, patience=4)
    with capsys.disabled():
        print(
            f"\n  {KILLS} kills, and a gateway that trusts the broker: {alerted} of {READS} alerted; {found}"
        )
    assert alerted < found.visits == READS
    assert found.unanswered


def starts_alone(daemon: Daemon, broker: Mosquitto, undo: ExitStack) -> list[str]:
    """Start without a broker, which comes after three local reads and before a fourth; the visits by arrival."""
    script(daemon.folder, 0, 0)
    undo.enter_context(opened(daemon))
    daemon.start()
    populate(daemon, 4)
    daemon.stop()
    script(daemon.folder, 3, 0.05)
    daemon.start()
    ready = daemon.http("operator").get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["ready"] is False
    assert "reach" in ready.json()["checks"]["broker"], ready.json()
    until(lambda: len(visits(daemon)) == 3)
    broker.start()
    undo.callback(broker.stop)
    until(lambda: daemon.http("operator").get("/readyz").status_code == 200)
    event = read_event("door-1", "late-1", {"technology": "qr", "payload": code(3)})
    assert daemon.http("reader:door-1").post("/api/v1/reads", json=event).status_code == 200
    return visits(daemon)


def visits(daemon: Daemon) -> list[str]:
    return [e["subject"] for e in daemon.events() if e["type"] == "soglia.visit.opened.v1"]


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


@needs_mosquitto
def test_without_a_broker_the_shop_opens_and_the_alerts_leave_when_it_comes(
    tmp_path: Path, undo: ExitStack
) -> None:
    daemon, broker = beside_mosquitto(tmp_path, SCOPES, more=SOON, tables=TABLES + LOCAL)
    found = starts_alone(daemon, broker, undo)
    tablet = daemon.station("clerk:marco")
    for visit in found:
        tablet.alert(visit)
    assert daemon.stop() == 0


@needs_mosquitto
def test_a_gateway_that_trusts_a_broker_that_is_not_there_is_caught(tmp_path: Path, undo: ExitStack) -> None:
    daemon, broker = beside_mosquitto(
        tmp_path, SCOPES, more=NEVER, tables=TABLES + LOCAL, program=program(trusts_the_broker)
    )
    connected, tablets = broker.start, list[Station]()

    def start() -> None:
        connected()
        tablets.append(daemon.station("clerk:marco"))

    broker.start = start  # type: ignore[method-assign]  # the tablet is there before the gateway finds its broker
    found = starts_alone(daemon, broker, undo)
    (tablet,) = tablets
    tablet.alert(found[3])
    assert not [visit for visit in found[:3] if tablet.of(visit, "soglia.alert.v1")]
