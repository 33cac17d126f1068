"""A store to measure: its directory, its broker, and its daemon as the process that `soglia run` starts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from devices import registry
from devices.decoders.tokens import mint
from gateway.core.codec import canonical, rfc3339
from gateway.core.model import derived
from gateway.operations import Operations
from gateway.settings import load
from gateway.settings_model import Settings
from gateway.shell.directory import Directory
from gateway.shell.permissions import GATEWAY
from gateway.stores import DIRECTORY, Stores, open_stores
from tests.bench.wire import Login, Shot

STORE, READER, CLERK = "bench-01", "door-1", "marco"
PREFIX = f"soglia/v1/{STORE}"
READS, ALERTS = f"{PREFIX}/readers/{READER}/reads", f"{PREFIX}/clerks/{CLERK}/alerts"
SCOPES = (f"reader:{READER}", f"clerk:{CLERK}", "platform", "operator")
BROKER_SECRET = "the gateway's own password"
_START_SECONDS = 120.0


@dataclass(frozen=True)
class Shop:
    """A data directory that is ready to be opened by a daemon, and the tokens that were issued in it."""

    folder: Path
    tokens: dict[str, str]

    @property
    def config(self) -> Path:
        """Its store.toml."""
        return self.folder / "store.toml"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    def login(self, scope: str) -> Login:
        """How a device of that scope enters the broker."""
        return Login(scope.replace(":", "/"), self.tokens[scope])

    def copy(self, folder: Path, broker: str) -> Shop:
        """The same store at another place, with another broker (`embedded` or a URL)."""
        shutil.copytree(self.folder, folder)
        made = Shop(folder, self.tokens)
        made.config.write_text(config(broker))
        return made


@dataclass(frozen=True)
class Running:
    """A daemon that is ready: its addresses and its process."""

    shop: Shop
    run: dict[str, Any]
    seconds_to_ready: float

    @property
    def port(self) -> int:
        """Where its broker speaks MQTT."""
        return int(str(self.run["mqtt"]).rpartition(":")[2])

    def client(self) -> httpx.Client:
        """The platform's HTTP client."""
        headers = {"authorization": f"Bearer {self.shop.tokens['platform']}"}
        return httpx.Client(base_url=str(self.run["api"]), headers=headers, timeout=300)

    def resident_megabytes(self) -> float:
        """The daemon's resident memory, its children apart."""
        for line in Path(f"/proc/{self.run['pid']}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


def config(broker: str) -> str:
    """The store.toml: a wide window, and an escalation that stays out of the measurement."""
    ours = "" if broker == "embedded" else f'username = "{GATEWAY}"\npassword_file = "broker.secret"\n'
    return f"""
[store]
id = "{STORE}"
time_zone = "{_zone_where_it_is_noon(datetime.now(UTC))}"
[data]
dir = "data"
[broker]
url = "{broker}"
{ours}
[api]
port = 0
[matching]
window_minutes = 600
[escalation]
delivered_seconds = 36000
backup_seconds = 40000
pool_seconds = 50000
manager_seconds = 60000
[[zones]]
id = "door"
doorway = true
[[readers]]
id = "{READER}"
type = "mqtt"
zone = "door"
"""


def _zone_where_it_is_noon(now: datetime) -> str:
    """So that no run of the benchmark crosses the store's midnight."""
    ahead = 12 - now.hour
    return "UTC" if ahead == 0 else f"Etc/GMT{-ahead:+d}"  # POSIX: the sign is the other way round


def make(folder: Path, visitors: int) -> Shop:
    """A store that expects so many visitors today, each with a card and an appointment with the one clerk."""
    folder.mkdir(parents=True)
    (folder / "broker.secret").write_text(BROKER_SECRET)
    (folder / "broker.secret").chmod(0o600)
    shop = Shop(folder, {})
    shop.config.write_text(config("embedded"))
    stores = open_stores(settings_of(shop))
    try:
        operations = Operations(stores, STORE, settings_of(shop).rules, mint)
        for scope in SCOPES:
            shop.tokens[scope] = str(operations.issue({"scope": scope})["token"])
        _write_broker_files(operations, folder)
        fill(stores, expected(0, visitors))
    finally:
        stores.close()
    return shop


def settings_of(shop: Shop) -> Settings:
    """Its configuration, loaded as the daemon does."""
    return load(shop.config, registry.check, registry.types())


def fill(stores: Stores, lines: Iterable[bytes]) -> None:
    """Put records straight into the directory, by a connection made for bulk."""
    directory = Directory.open(stores.path / DIRECTORY, stores.keys.secret("credential"), STORE, bulk=True)
    try:
        result = directory.put(lines, "platform", datetime.now(UTC))
        assert not result.quarantined, result.quarantined[:3]
    finally:
        directory.close()


def _write_broker_files(operations: Operations, folder: Path) -> None:
    told = operations.export({"username": GATEWAY, "password": BROKER_SECRET})
    (folder / "passwords").write_text(str(told["passwords"]))
    (folder / "acl").write_text(str(told["acl"]))


def expected(first: int, count: int) -> Iterator[bytes]:
    """The clerk, then visitors number `first` and on, each with a card and an appointment now."""
    now = datetime.now(UTC)
    start, end = rfc3339(now), rfc3339(now + timedelta(hours=1))
    yield canonical({"kind": "clerk", "id": CLERK, "version": 1, "name": "Marco", "roles": ["clerk"]})
    for number in range(first, first + count):
        yield profile(number)
        yield canonical(
            {
                "kind": "appointment",
                "id": f"a-{number}",
                "version": 1,
                "visitor": f"v-{number}",
                "clerk": CLERK,
                "start": start,
                "end": end,
                "status": "booked",
                "store": STORE,
            }
        )


def profile(number: int) -> bytes:
    """A visitor's record, about as large as a shop's are: a card, a consent, a visit to the web site."""
    at = "2026-01-01T10:00:00Z"
    return canonical(
        {
            "kind": "visitor",
            "id": f"v-{number}",
            "version": 1,
            "language": "it",
            "given_name": f"Anna{number % 5000}",
            "family_name": f"Bianchi{number % 7000}",
            "credentials": [{"kind": "nfc-uid", "value": card(number)}],
            "consent": [{"purpose": "history", "granted": True, "at": at}],
            "touchpoints": [{"id": "t1", "channel": "site", "type": "product_viewed", "at": at}],
        }
    )


def card(number: int) -> str:
    """The UID of a visitor's card: seven bytes in hex."""
    return f"04{number:012X}"


def shot(number: int, run: str = "r") -> Shot:
    """The read of that visitor's card, as a reader publishes it, and her visit's id."""
    name = f"{run}-{number}"
    event = {
        "specversion": "1.0",
        "id": name,
        "type": "soglia.read.v1",
        "time": rfc3339(datetime.now(UTC)),
        "source": f"soglia/{STORE}/readers/{READER}",
        "data": {"technology": "nfc", "uid": card(number)},
    }
    return Shot(canonical(event), derived("visit", f"read:{READER}:{name}").encode())


@contextmanager
def running(shop: Shop, *, kill: bool = False) -> Iterator[Running]:
    """`soglia run` on it, until the block ends; then it must end well, or is killed like a box without power."""
    run_file = shop.data / "run.json"
    run_file.unlink(missing_ok=True)
    begin = time.perf_counter()
    with (shop.folder / "daemon.log").open("wb") as log:
        command = [sys.executable, "-m", "gateway.cli", "run", "--config", str(shop.config)]
        child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        while not run_file.exists():
            if child.poll() is not None or time.perf_counter() - begin > _START_SECONDS:
                raise AssertionError((shop.folder / "daemon.log").read_text()[-2000:])
            time.sleep(0.005)
        ready = time.perf_counter() - begin
        run = json.loads(run_file.read_text())
        yield Running(shop, run, ready)
        if kill:
            return
        child.send_signal(signal.SIGTERM)
        if code := child.wait(60):
            raise AssertionError(f"the daemon ended with {code}: {(shop.folder / 'daemon.log').read_text()}")
    finally:
        child.kill()
        child.wait()
