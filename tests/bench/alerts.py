"""A read on MQTT → committed → alert at the tablet: the floor and ours by turns, on the same kind of broker."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gateway.shell.access import bcrypt_hash, mosquitto_hash
from gateway.shell.embedded import EmbeddedBroker
from gateway.shell.permissions import GATEWAY, MqttUser
from gateway.shell.scopes import Scope
from tests.bench import shop as shops
from tests.bench.shop import ALERTS, BROKER_SECRET, CLERK, READER, READS, STORE, Shop
from tests.bench.table import Row, beside, not_run, percentile
from tests.bench.wire import Heard, Load, Login, Shot
from tests.rigs.mosquitto import BINARY, mosquitto

RATE = 200.0
_WARM_UP = 300


@dataclass(frozen=True)
class Plan:
    """How much is measured: reads at 200/s, reads as fast as it goes, and how often."""

    paced: int
    flooded: int
    runs: int

    @property
    def visitors(self) -> int:
        """How many a run needs."""
        return _WARM_UP + self.paced + self.flooded


@dataclass(frozen=True)
class Run:
    """One run's result: seconds, and reads a second."""

    p50: float
    p90: float
    p99: float
    most: float


def rows(broker: str, plan: Plan, template: Shop, folder: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure over `mosquitto` or `embedded`."""
    if broker == "mosquitto" and not BINARY.exists():
        yield not_run(f"read → alert ({broker})", "not run: mosquitto is not installed")
        return
    floor, ours = list[Run](), list[Run]()
    for number in range(plan.runs):
        for name, measured, into in (("floor", _floor, floor), ("ours", _ours, ours)):
            place = folder / f"{broker}-{name}-{number}"
            run = measured(broker, plan, template, place)
            shutil.rmtree(place)
            into.append(run)
            say(
                f"{broker} {name} {number + 1}/{plan.runs}: p50 {run.p50 * 1e3:.2f} p90 {run.p90 * 1e3:.2f} "
                f"p99 {run.p99 * 1e3:.2f} ms, most {run.most:.0f}/s"
            )
    shape = f"{broker}, {plan.runs} runs of {plan.paced:,}"
    for field, target in (("p50", 1.3), ("p90", None), ("p99", 2.0)):
        bare, own = (median(getattr(run, field) for run in each) * 1e3 for each in (floor, ours))
        what = f"read → alert {field}, 200/s ({shape})"
        yield beside(what, bare, own, "ms", at_most=target)
    bare, own = (median(run.most for run in each) for each in (floor, ours))
    yield beside(f"matched reads, sustained ({broker})", bare, own, "reads/s", at_least=0.8)


def _measure(load: Load, plan: Plan) -> Run:
    shots = [shops.shot(number) for number in range(plan.visitors)]
    try:
        _all(load.flooded(shots[:_WARM_UP], 20))
        paced = _all(load.paced(shots[_WARM_UP : _WARM_UP + plan.paced], RATE))
        flooded = _all(load.flooded(shots[_WARM_UP + plan.paced :]))
    finally:
        load.close()
    p50, p90, p99 = (percentile(paced.seconds, share) for share in (0.5, 0.9, 0.99))
    return Run(p50, p90, p99, len(flooded.seconds) / flooded.elapsed)


def _all(heard: Heard) -> Heard:
    assert not heard.missing, f"{heard.missing} reads gave no alert"
    return heard


def _ours(broker: str, plan: Plan, template: Shop, place: Path) -> Run:
    if broker == "embedded":
        with shops.running(template.copy(place, "embedded")) as daemon:
            return _measure(load_of(daemon.port, template), plan)
    with (
        _mosquitto(template, place / "broker") as port,
        shops.running(template.copy(place / "shop", f"mqtt://127.0.0.1:{port}")) as daemon,
    ):
        return _measure(load_of(daemon.port, template), plan)


def load_of(port: int, template: Shop) -> Load:
    """A reader and a tablet of that store, at that port."""
    return Load(port, template.login(f"reader:{READER}"), template.login(f"clerk:{CLERK}"), READS, ALERTS)


def _floor(broker: str, plan: Plan, template: Shop, place: Path) -> Run:
    place.mkdir(parents=True)
    opened = (
        _embedded(template, place) if broker == "embedded" else _mosquitto_login(template, place / "broker")
    )
    with opened as (port, login), _bare_program(port, login, place / "floor.db"):
        # The payload names the read, not a visit: the floor's alert carries that.
        return _measure(_Named(port, template), plan)


class _Named(Load):
    """The load for the floor, whose alert names the read itself."""

    def __init__(self, port: int, template: Shop) -> None:
        super().__init__(
            port, template.login(f"reader:{READER}"), template.login(f"clerk:{CLERK}"), READS, ALERTS
        )

    def _run(self, shots: Sequence[Shot], every: float, window: int, patience: float) -> Heard:
        named = [Shot(each.payload, _id_of(each.payload)) for each in shots]
        return super()._run(named, every, window, patience)


def _id_of(payload: bytes) -> bytes:
    begin = payload.index(b'"id":"') + 6
    return payload[begin : payload.index(b'"', begin)]


@contextmanager
def _bare_program(port: int, login: Login, path: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.bench.floor", str(port), login.username, login.password]
    child = subprocess.Popen([*command, READS, ALERTS, str(path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == b"ready\n", "the floor has not started"
        yield
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


@contextmanager
def _mosquitto(template: Shop, place: Path) -> Iterator[int]:
    passwords, acl = ((template.folder / name).read_text() for name in ("passwords", "acl"))
    with mosquitto(place, passwords=passwords, acl=acl) as server:
        yield server.port


@contextmanager
def _mosquitto_login(template: Shop, place: Path) -> Iterator[tuple[int, Login]]:
    with _mosquitto(template, place) as port:
        yield port, Login(GATEWAY, BROKER_SECRET)


@contextmanager
def _embedded(template: Shop, place: Path) -> Iterator[tuple[int, Login]]:
    users = [
        MqttUser(
            login.username, Scope.parse(scope), bcrypt_hash(login.password), mosquitto_hash(login.password)
        )
        for scope in (f"reader:{READER}", f"clerk:{CLERK}")
        for login in (template.login(scope),)
    ]
    broker = EmbeddedBroker(place, STORE)
    port = broker.start(users).mqtt_port
    try:
        login = broker.gateway_login()
        yield port, Login(login.username, login.password)
    finally:
        broker.stop()
