"""The embedded broker: nats-server from its wheel, supervised.

    {data_dir}/broker/      0700
      nats.conf             0600  written at every start and whenever a token changes
      ports.json            0600  the ports, chosen once: tablets know them by heart
      clients.json          0600  the gateway's secret client ids
      lock                        held by the gateway and by its server: one pair on a data directory
      nats.log              0600  what the server says, at most 2 MB
      js/                         its messages; js.damaged-… is what was moved aside, for a person to look at

The supervisor is one thread that spawns the server, reads what it says, waits for its end and starts it again
with back-off. It spawns from this thread of its own, whoever calls `start`, because the kernel ends the
server together with the thread that spawned it: it is the one thread sure to live as long as the server.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.errors import PeerError
from gateway.shell import nats_wire
from gateway.shell.access import bcrypt_hash
from gateway.shell.logins import Login, client_ids, write_private
from gateway.shell.nats_server import BoundedLog, NatsServer, check_config, find_server
from gateway.shell.permissions import GATEWAY, MqttUser, NatsSettings, nats_config

FIRST_DELAY, LAST_DELAY, HEALTHY_SECONDS = 0.05, 10.0, 30.0
LOCK_SECONDS = 2.0  # the server of a gateway killed a moment ago is still ending
START_SECONDS = 60.0
ATTEMPTS = 3  # at finding free ports, at the first start

log = logging.getLogger("soglia.broker")


@dataclass(frozen=True, slots=True)
class Address:
    """The ports that are listened on."""

    mqtt_port: int
    websocket_port: int


class EmbeddedBroker:
    """The supervisor. Every method may be called from any thread."""

    def __init__(
        self,
        data_dir: Path,
        store: str,
        host: str = "127.0.0.1",
        port: int = 0,
        websocket_port: int = 0,
        allowed_origins: Sequence[str] = (),
    ) -> None:
        """A port of 0 is chosen at the first start and kept. `allowed_origins` are the pages that may open
        the WebSocket, e.g. `http://127.0.0.1:8080`."""
        self._home = data_dir / "broker"
        self._store, self._host, self._asked = store, host, (port, websocket_port)
        self._origins = tuple(allowed_origins)
        self._password, self._admin_password = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        self._hash, self._admin_hash = bcrypt_hash(self._password), bcrypt_hash(self._admin_password)
        self._binary = Path()
        self._address = Address(0, 0)
        self._lock: int | None = None
        self._config_lock = threading.Lock()
        self._server: NatsServer | None = None
        self._thread: threading.Thread | None = None
        self._stopping, self._damaged, self._settled = threading.Event(), threading.Event(), threading.Event()
        self._failure: PeerError | None = None
        self._written = 0
        self.restarts = 0
        self.moved_aside: tuple[Path, ...] = ()

    def start(self, users: Sequence[MqttUser]) -> Address:
        """Start the server; returns when MQTT is served and the store is limited.

        Raises:
            PeerError: `broker-already-running`, `broker-port-taken`, `broker-binary-missing`,
                `broker-config-invalid`, `broker-start-failed`.
            LoginError: `client-ids-unreadable`.
        """
        self._binary = find_server()
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.chmod(0o700)
        self._lock = _locked(self._home / "lock")
        try:
            for attempt in range(1, ATTEMPTS + 1):
                self._address, fresh = self._ports()
                self._write_config(users)
                failure = self._launch()
                if failure is None:
                    break
                if not fresh or failure.reason != "broker-port-taken" or attempt == ATTEMPTS:
                    raise failure
            write_private(self._home / "ports.json", json.dumps(_as_json(self._address)))
            return self._address
        except BaseException:
            self.stop()
            raise

    def reload(self, users: Sequence[MqttUser]) -> None:
        """Give the server these users. Those who are gone are cut within milliseconds; nobody else notices.

        What waits in the session of one who is gone stays in the store until it is seven days old.

        Raises:
            PeerError: `broker-config-invalid`, `broker-reload-failed`; the former users serve on.
        """
        with self._config_lock:
            if self._write_config(users) and self._server is not None and self._server.serving:
                self._server.reload()

    def gateway_login(self) -> Login:
        """How the gateway enters: a password of this run, client ids that are kept."""
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Login(GATEWAY, self._password, client_ids(self._home / "clients.json"))

    def set_store_aside(self) -> None:
        """The store swallows messages (see `MqttBroker`'s canary): begin with an empty one, keep the old one.

        Returns at once; the gateway's connections find the new server by themselves.
        """
        server = self._server
        if server is not None and not self._stopping.is_set():
            self._damaged.set()
            server.end(grace=0)

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL after 10 s."""
        self._stopping.set()
        server = self._server
        if server is not None:
            server.end()
        if self._thread is not None:
            self._thread.join()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def pid(self) -> int | None:
        """The running server's process."""
        return None if self._server is None else self._server.pid

    @property
    def serving(self) -> bool:
        """Whether the server runs and has taken its users."""
        return self._server is not None and self._server.serving

    # -- the supervisor

    def _launch(self) -> PeerError | None:
        """Start the supervisor and wait until its server serves or fails."""
        self._failure = None
        self._settled.clear()
        self._thread = threading.Thread(target=self._supervise, name="broker-supervisor", daemon=True)
        self._thread.start()
        if not self._settled.wait(START_SECONDS):
            return PeerError("broker-start-failed", "The embedded broker did not start in time: see its log.")
        return self._failure

    def _supervise(self) -> None:
        delay, served = FIRST_DELAY, False
        while not self._stopping.is_set():
            began = time.monotonic()
            ready, said = self._run_once()
            if self._stopping.is_set():
                return
            if self._damaged.is_set():
                self._move_store()
                continue
            served = served or ready
            if not served:
                self._failure = said
                self._settled.set()
                return
            if time.monotonic() - began > HEALTHY_SECONDS:
                delay = FIRST_DELAY
            self.restarts += 1
            log.warning("the embedded broker is started again in %.2f s: %s", delay, said)
            self._stopping.wait(delay)
            delay = min(delay * 2, LAST_DELAY)

    def _run_once(self) -> tuple[bool, PeerError]:
        """One run of the server, from spawn to end; whether it served, and how it ended."""
        assert self._lock is not None
        written = self._written
        server = NatsServer(
            self._binary, self._home / "nats.conf", self._lock, BoundedLog(self._home / "nats.log")
        )
        self._server = server
        if self._stopping.is_set():
            server.end()
        ready = server.until_ready() and self._prepare(server)
        if ready:
            server.serving = True
            if self._written != written:
                server.poke()  # its users changed while it was starting
            self._settled.set()
        code = server.until_end()
        server.serving = False
        return ready, _failed(server.last_complaint or f"exit code {code}")

    def _prepare(self, server: NatsServer) -> bool:
        """Make the store exist and limit it. A store that cannot even do that is damaged."""
        try:
            nats_wire.enter(_reachable(self._host), self._address.mqtt_port, GATEWAY, self._password)
            nats_wire.limit_store(server.client_port or 0, self._admin_password)
        except PeerError as error:
            if not self._stopping.is_set():
                log.error("the embedded broker's store does not answer: %s", error)
                if not self.moved_aside:
                    self._damaged.set()
                server.end(grace=0)
            return False
        return True

    def _move_store(self) -> None:
        self._damaged.clear()
        aside = self._home / f"js.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
        (self._home / "js").replace(aside)
        self.moved_aside = (*self.moved_aside, aside)
        log.error(
            "the embedded broker's store was damaged; it is kept as %s and a new one begins", aside.name
        )

    # -- what it is configured with

    def _ports(self) -> tuple[Address, bool]:
        """The ports to use, and whether they are fresh, so that others may be tried."""
        kept = _kept_ports(self._home / "ports.json")
        mqtt = self._asked[0] or kept.get("mqtt") or _free_port(self._host)
        websocket = self._asked[1] or kept.get("websocket") or _free_port(self._host)
        return Address(mqtt, websocket), not kept

    def _write_config(self, users: Sequence[MqttUser]) -> bool:
        """Write the configuration once the server has found it good; whether it is another one than before."""
        settings = NatsSettings(
            host=self._host,
            mqtt_port=self._address.mqtt_port,
            websocket_port=self._address.websocket_port,
            allowed_origins=self._origins,
            store_dir=str(self._home / "js"),
            admin_bcrypt=self._admin_hash,
        )
        everybody = [MqttUser(GATEWAY, None, self._hash, ""), *users]
        text = nats_config(settings, self._store, everybody)
        config, candidate = self._home / "nats.conf", self._home / "nats.conf.candidate"
        if config.exists() and config.read_text() == text:
            return False
        write_private(candidate, text)
        check_config(self._binary, candidate)
        candidate.replace(config)
        self._written += 1
        return True


def _failed(complaint: str) -> PeerError:
    if "address already in use" in complaint:
        return PeerError(
            "broker-port-taken", f"The embedded broker's port is taken by another program: {complaint}."
        )
    return PeerError("broker-start-failed", f"The embedded broker ended: {complaint}.")


def _locked(path: Path) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise PeerError(
                    "broker-already-running", f"Another gateway runs on {path.parent.parent}: stop it first."
                ) from None
            time.sleep(0.05)


def _kept_ports(path: Path) -> dict[str, int]:
    try:
        return {str(key): int(value) for key, value in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError):
        raise PeerError(
            "broker-ports-unreadable", f"{path} is damaged: delete it, and tell the tablets."
        ) from None


def _as_json(address: Address) -> dict[str, int]:
    return {"mqtt": address.mqtt_port, "websocket": address.websocket_port}


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as listener:
        return int(listener.getsockname()[1])


def _reachable(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
