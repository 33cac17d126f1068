"""Readers by name from a configuration, and kept running whatever they do."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime

import pytest

from devices import registry
from devices.fake import FakeReader
from devices.reader import Deliver, Reader
from devices.readers.nfc import NfcReader
from devices.supervisor import Backoff, Standing, Supervisor
from gateway.core.errors import ReaderError, Refused
from gateway.core.model import Read
from gateway.core.receipts import Receipt
from tests.rigs.cards import Type2
from tests.rigs.nfc_devices import FakeDevice
from tests.rigs.watching import wait_for


class Store:
    """Where reads and changes of health arrive."""

    def __init__(self) -> None:
        self.reads: list[Read] = []
        self.changes: list[tuple[str, bool, str | None]] = []

    def deliver(self, read: Read) -> Future[Receipt]:
        self.reads.append(read)
        return Future()

    def on_health(self, reader: str, lost: bool, reason: str | None) -> None:
        self.changes.append((reader, lost, reason))


class Scripted:
    """A reader that does one thing a run."""

    def __init__(self, *runs: Callable[[Deliver, threading.Event, Callable[[], None]], None]) -> None:
        self.id = "scripted"
        self.ran = 0
        self._runs = runs

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        self.ran += 1
        self._runs[min(self.ran, len(self._runs)) - 1](deliver, stop, ready)


def works(deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
    ready()
    stop.wait()


def fails(error: Exception, after_ready: bool = False) -> Callable[..., None]:
    def run(deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        if after_ready:
            ready()
        raise error

    return run


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def supervise(store: Store) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def start(*readers: Reader) -> Supervisor:
        made.append(Supervisor(readers, store.deliver, store.on_health, backoff=lambda: Backoff(0.01, 0.05)))
        made[-1].start()
        return made[-1]

    yield start
    for supervisor in made:
        assert supervisor.stop() == ()


def test_reads_flow_and_are_counted(store: Store, supervise: Callable[..., Supervisor]) -> None:
    reader = FakeReader("door")
    supervisor = supervise(reader)
    reader.present({"payload": "K7Q2MX"})
    wait_for(lambda: store.reads)
    (health,) = supervisor.health()
    assert (health.standing, health.reads, health.restarts, health.reason) == (Standing.WORKING, 1, 0, None)
    assert health.last_read is not None
    assert health.since.tzinfo is UTC


def test_health_is_told_exactly_on_changes(store: Store, supervise: Callable[..., Supervisor]) -> None:
    reader = FakeReader("door")
    supervisor = supervise(reader)
    wait_for(lambda: store.changes)
    reader.unplug()
    wait_for(lambda: supervisor.health()[0].restarts >= 3)  # it failed again and again, told once
    assert supervisor.health()[0].reason == "fake-unplugged"
    reader.replug()
    reader.present({"payload": "K7Q2MX"})
    wait_for(lambda: store.reads)
    assert store.changes == [("door", False, None), ("door", True, "fake-unplugged"), ("door", False, None)]


def test_one_readers_fault_does_not_touch_another(store: Store, supervise: Callable[..., Supervisor]) -> None:
    healthy = FakeReader("door")
    supervisor = supervise(Scripted(fails(ReaderError("gone", "Gone."))), healthy)
    wait_for(lambda: supervisor.health()[0].restarts >= 3)
    healthy.present({"payload": "K7Q2MX"})
    wait_for(lambda: store.reads)
    assert supervisor.health()[1].restarts == 0


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (fails(ReaderError("usb-gone", "Gone."), after_ready=True), "usb-gone"),
        (fails(ZeroDivisionError("a driver's bug")), "unexpected-ZeroDivisionError"),
        (lambda *_: None, "reader-ended"),
    ],
    ids=["ReaderError", "any error", "return"],
)
def test_whatever_ends_a_reader_is_reported_and_it_runs_again(
    store: Store, supervise: Callable[..., Supervisor], first: Callable[..., None], reason: str
) -> None:
    reader = Scripted(first, works)
    supervise(reader)
    wait_for(lambda: len(store.changes) >= 2 and store.changes[-1][1] is False)
    assert (reader.id, True, reason) in store.changes
    assert reader.ran == 2


def test_a_read_that_the_gateway_cannot_take_is_a_fault_of_that_run(store: Store) -> None:
    def overloaded(read: Read) -> Future[Receipt]:
        raise ReaderError("inbox-full", "The gateway is overloaded.")

    reader = FakeReader("door")
    supervisor = Supervisor([reader], overloaded, store.on_health, backoff=lambda: Backoff(0.01, 0.05))
    supervisor.start()
    reader.present({"payload": "K7Q2MX"})
    wait_for(lambda: ("door", True, "inbox-full") in store.changes)
    assert supervisor.stop() == ()


def test_back_off_follows_how_long_the_reader_worked(store: Store) -> None:
    told: list[float] = []
    clock = iter([100.0, 145.0, *[200.0] * 50])

    class Noting(Backoff):
        def after(self, worked: float) -> float:
            told.append(worked)
            return 0.0

    reader = Scripted(
        fails(ReaderError("gone", "Gone."), after_ready=True), fails(ReaderError("gone", "Gone.")), works
    )
    supervisor = Supervisor(
        [reader], store.deliver, store.on_health, backoff=Noting, monotonic=lambda: next(clock)
    )
    supervisor.start()
    wait_for(lambda: reader.ran == 3)
    assert supervisor.stop() == ()
    assert told == [45.0, 0.0]
    assert supervisor.health()[0].standing is Standing.STOPPED


def test_stop_is_bounded_and_names_who_did_not_stop(store: Store) -> None:
    release = threading.Event()

    def hangs(deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        ready()
        release.wait(60)

    stuck = Scripted(hangs)
    supervisor = Supervisor([FakeReader("door"), stuck], store.deliver, store.on_health)
    supervisor.start()
    wait_for(lambda: stuck.ran)
    assert supervisor.stop(0.3) == ("scripted",)
    release.set()
    assert supervisor.stop(20) == ()


def test_stop_does_not_wait_out_the_back_off(store: Store) -> None:
    supervisor = Supervisor(
        [Scripted(fails(ReaderError("gone", "Gone.")))],
        store.deliver,
        store.on_health,
        backoff=lambda: Backoff(60, 60),
    )
    supervisor.start()
    wait_for(lambda: store.changes)
    assert supervisor.stop(20) == ()


def test_a_thread_is_named_after_its_reader(supervise: Callable[..., Supervisor]) -> None:
    supervise(FakeReader("door"))
    assert "reader-door" in [thread.name for thread in threading.enumerate()]


def test_an_nfc_reader_that_is_unplugged_comes_back(
    store: Store, supervise: Callable[..., Supervisor]
) -> None:
    devices: list[FakeDevice | None] = [FakeDevice()]
    supervise(NfcReader("door", "usb", lambda _: devices[-1]))
    wait_for(lambda: store.changes == [("door", False, None)])
    first = devices[-1]
    assert first is not None
    devices.append(None)
    first.dead = True
    wait_for(lambda: len(store.changes) == 2)
    fresh = FakeDevice()
    fresh.cards.append(Type2.with_message(bytes.fromhex("04A1B2C3D4E580"), b""))
    devices.append(fresh)
    wait_for(lambda: store.reads)
    assert store.changes == [("door", False, None), ("door", True, "nfc-lost"), ("door", False, None)]
    assert first.closed


def test_time_is_the_callers(store: Store) -> None:
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    supervisor = Supervisor([FakeReader("door")], store.deliver, store.on_health, wall=lambda: noon)
    assert supervisor.health()[0].since == noon
    assert supervisor.health()[0].standing is Standing.STARTING


def test_the_types_that_ship() -> None:
    assert set(registry.types()) >= {"camera", "nfc", "replay", "serial", "wedge"}


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "nfc", "path": "usb"},
        {"type": "nfc"},
        {"type": "serial", "path": "/dev/ttyACM0", "baud": 115200, "suffix": "\r", "line_seconds": 1},
        {"type": "wedge", "path": "/dev/input/event3", "layout": "it"},
        {"type": "camera", "path": "/run/camera"},
        {"type": "replay", "path": "script.ndjson", "repeat": True},
    ],
)
def test_a_reader_is_built_without_touching_its_device(settings: dict[str, object]) -> None:
    table = {"id": "door", "zone": "door", **settings}
    assert registry.check(table) == []
    assert registry.build(table).id == "door"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"type": "telepathy"}, ["type: must be one of camera, nfc, replay, serial, wedge"]),
        ({}, ["type: must be one of camera, nfc, replay, serial, wedge"]),
        ({"type": ["nfc"]}, ["type: must be one of camera, nfc, replay, serial, wedge"]),
        ({"type": "replay"}, ["path: missing (the script, NDJSON)"]),
        (
            {"type": "serial", "baud": 1, "line_seconds": "long", "colour": "red"},
            [
                "colour: unknown key",
                "path: missing (the device, e.g. /dev/serial/by-id/…)",
                "baud: must be from 300 to 4000000",
                "line_seconds: must be of type float",
            ],
        ),
        ({"type": "wedge", "path": "x", "layout": "de"}, ["layout: must be one of us, it"]),
        ({"type": "wedge", "path": "x", "max_length": True}, ["max_length: must be of type int"]),
        (
            {"type": "serial", "path": "x", "line_seconds": float("nan")},
            ["line_seconds: must be from 0.05 to 10"],
        ),
    ],
)
def test_every_problem_is_named_at_once(settings: dict[str, object], expected: list[str]) -> None:
    table = {"id": "door", "zone": "door", **settings}
    assert registry.check(table) == expected
    with pytest.raises(Refused) as caught:
        registry.build(table)
    assert all(problem in caught.value.detail for problem in expected)


def test_building_every_reader_imports_no_driver() -> None:
    code = """
import json, sys
from devices import registry
import devices.supervisor, devices.fake
for kind in registry.types():
    registry.build({"id": "r", "type": kind, "zone": "z", "path": "usb"})
print(json.dumps([name for name in ("nfc", "evdev", "serial", "zxingcpp", "PIL") if name in sys.modules]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []
