"""The only wiring: which part gets which other part, in which order they start, and in which they stop."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from devices import registry
from devices.decoders.tokens import mint
from devices.supervisor import Supervisor
from gateway.api.app import build
from gateway.api.server import Server, serve
from gateway.api.services import Services
from gateway.core import commands as cmd
from gateway.core.codec import canonical, rfc3339
from gateway.core.errors import LogError, Refused
from gateway.core.state import digest
from gateway.feeds import Feeds
from gateway.operations import Operations
from gateway.reading import build_intake
from gateway.settings import secret
from gateway.settings_model import Settings
from gateway.shell.clock import Adjustment
from gateway.shell.control import FILE as CONTROL_FILE
from gateway.shell.control import Control
from gateway.shell.embedded import EmbeddedBroker
from gateway.shell.engine import Engine
from gateway.shell.floor import SUBSCRIPTIONS, Floor
from gateway.shell.follower import FloorFollower
from gateway.shell.logins import Login, client_ids, write_private
from gateway.shell.mqtt import MqttBroker
from gateway.shell.notify import notify
from gateway.stores import Stores, open_stores
from gateway.vitals import Vitals
from sync.outbox import Outbox

log = logging.getLogger("soglia")

RUN_FILE = "run.json"
_BEAT_SECONDS = 1.0
_LINK_SECONDS = 5.0


@dataclass(frozen=True)
class Addresses:
    """Where the gateway can be reached."""

    api: str
    mqtt: str
    websocket: str | None = None


@dataclass(frozen=True)
class Bearer:
    """A verified token, as the API wants it."""

    role: str
    name: str | None


class Gateway:
    """One store's gateway. `start` brings everything up or leaves nothing behind; `stop` loses nothing.

    `on_fatal` is called once, on any thread, when the process must end: our own disk has failed.
    """

    def __init__(self, settings: Settings, on_fatal: Callable[[LogError], None]) -> None:
        self._settings = settings
        self._on_fatal = on_fatal
        self._undo = contextlib.ExitStack()
        self._stopping = threading.Event()
        self._linked = threading.Event()

    def start(self) -> Addresses:
        """Start everything, in the order in which each part is needed.

        Raises:
            SogliaError: a part cannot start; says which and what to do. Nothing is left running.
        """
        # Measured: with a thread that computes beside it, an alert takes 1.1 ms instead of 83.
        sys.setswitchinterval(1e-4)
        try:
            return self._start()
        except OSError as error:
            self.stop()
            what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or repr(error)
            raise LogError("start-failed", f"The gateway cannot start ({what}): check the disk.") from error
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop in the reverse order: nothing new comes in, what has queued is committed, then all is closed."""
        self._stopping.set()
        self._undo.close()

    # -- the parts, in order

    def _start(self) -> Addresses:
        settings = self._settings
        self._stores = stores = open_stores(settings)
        self._undo.callback(stores.close)
        (stores.path / RUN_FILE).unlink(missing_ok=True)  # of one that was killed: nobody listens there
        self._engine = self._start_engine(stores)
        self._feeds = Feeds(settings, stores, self._engine.submit, self._now, self._on_fatal)
        self._feeds.tell()
        self._intake = build_intake(settings, stores, self._engine.submit, self._now, self._on_fatal)
        self._supervisor = self._build_supervisor()
        server = self._bind_api()
        mqtt, websocket = self._start_broker(stores, server)
        self._undo.callback(server.stop)
        server.start()
        if (calendars := self._feeds.calendars()) is not None:
            calendars.start()
            self._undo.callback(calendars.stop)
        self._supervisor.start()
        self._undo.callback(self._supervisor.stop)
        self._start_control(stores)
        self._start_beat()
        self._await_link()
        addresses = Addresses(server.url, mqtt, websocket)
        _spare_the_collector()
        self._announce(addresses)
        return addresses

    def _start_engine(self, stores: Stores) -> Engine:
        engine = Engine(
            stores.log, self._settings.rules, stores.clock.now, stores.keys.secret("command"), self._on_fatal
        )
        engine.start()
        self._undo.callback(engine.stop)
        return engine

    def _start_broker(self, stores: Stores, server: Server) -> tuple[str, str | None]:
        settings, wanted = self._settings, self._settings.broker
        self._embedded: EmbeddedBroker | None = None
        websocket = None
        if wanted.url is None:
            origins = [server.url, *([settings.api.public_url] if settings.api.public_url else [])]
            embedded = EmbeddedBroker(
                stores.path, settings.store.id, wanted.host, wanted.port, wanted.websocket_port or 0, origins
            )
            address = embedded.start(self._mqtt_users())
            self._undo.callback(embedded.stop)
            self._embedded = embedded
            url, login = f"mqtt://{wanted.host}:{address.mqtt_port}", embedded.gateway_login()
            websocket = f"ws://{wanted.host}:{address.websocket_port}"
        else:
            password = secret(wanted.password_file) if wanted.password_file else ""
            ids = client_ids(stores.path / "broker-clients.json")
            url, login = wanted.url, Login(wanted.username or "", password, ids)
        self._broker = MqttBroker(
            url,
            login,
            settings.store.id,
            online=self._status(True),
            offline=self._status(False),
            ca_file=wanted.ca_file,
            canary=self._embedded is not None,
            on_swallowed=self._embedded.set_store_aside if self._embedded else None,
        )
        self._connect(stores)
        return url, websocket

    def _connect(self, stores: Stores) -> None:
        """The floor's two directions over the broker; it may be down, and come back when it likes."""
        engine, broker = self._engine, self._broker
        floor = Floor(self._settings.store.id, broker, self._intake, engine.submit, self._now)
        self._follower = FloorFollower(stores.log, broker, self._now, engine.note_cursor, self._on_fatal)
        self._undo.callback(engine.on_commit(self._follower.committed))

        def on_link(up: bool) -> None:
            if up:
                self._linked.set()
                log.info("the broker is connected")
            elif not self._stopping.is_set():
                reason = broker.last_error.detail if broker.last_error else "no reason given"
                log.warning("the broker is not connected: %s", reason)
            self._follower.wake()

        broker.start(SUBSCRIPTIONS, floor.on_message, on_link)
        self._undo.callback(broker.stop)
        self._follower.start()
        self._undo.callback(self._follower.stop)

    def _bind_api(self) -> Server:
        api = self._settings.api
        tls = (api.tls_cert_file, api.tls_key_file) if api.tls_cert_file and api.tls_key_file else None
        try:
            server = serve(build(self._services()), api.host, api.port, tls)
        except OSError as error:
            where = f"{api.host}, port {api.port}" if api.port else api.host
            why = f"The API cannot listen on {where} ({error.strerror or error}): see [api]."
            raise Refused("api-unusable", why) from error
        self._server = server
        return server

    def _services(self) -> Services:
        settings, stores, engine = self._settings, self._stores, self._engine
        public = urlsplit(settings.api.public_url or "").hostname
        hosts = {settings.api.host, "localhost", "127.0.0.1", "::1", *([public] if public else [])}
        self._outbox = Outbox(
            stores.log, stores.keys.secret("cursor"), stores.keys.signing("batch"), engine.move_cursor
        )
        return Services(
            store=settings.store.id,
            store_name=settings.store.name,
            rules=settings.rules,
            now=self._now,
            log=stores.log,
            engine=engine,
            directory=stores.directory,
            outbox=self._outbox,
            verify_token=self._bearer,
            read=self._intake.read,
            decode_picture=_decode_picture,
            put_directory=self._feeds.put,
            hooks=self._feeds.hooks,
            health=lambda: self._vitals().health(),
            metrics=lambda: self._vitals().metrics(),
            allowed_hosts=frozenset(hosts),
            zones={zone.id: zone.name for zone in settings.zones},
            on_fatal=self._on_fatal,
        )

    def _build_supervisor(self) -> Supervisor:
        local = [registry.build(reader.table) for reader in self._settings.readers if reader.type != "mqtt"]
        return Supervisor(local, self._intake.read, self._reader_health)

    def _start_control(self, stores: Stores) -> None:
        operations = Operations(
            stores, self._settings.store.id, self._settings.rules, mint, changed=self._tokens_changed
        )
        handlers = {**operations.handlers, "state.digest": self._digest}
        control = Control(stores.path / CONTROL_FILE, handlers)
        control.start()
        self._undo.callback(control.stop)

    def _start_beat(self) -> None:
        beat = threading.Thread(target=self._beat, name="beat", daemon=True)
        beat.start()
        self._undo.callback(beat.join)
        self._undo.callback(self._stopping.set)

    def _await_link(self) -> None:
        """Give the broker a moment, so that what is published once we are announced is heard; it may be down."""
        deadline = time.monotonic() + _LINK_SECONDS
        while not self._linked.wait(0.02) and self._broker.last_error is None and time.monotonic() < deadline:
            pass

    def _announce(self, addresses: Addresses) -> None:
        """The last step: whoever waits for `run.json` finds everything ready."""
        told = {"api": addresses.api, "mqtt": addresses.mqtt, "pid": os.getpid()}
        if addresses.websocket:
            told["websocket"] = addresses.websocket
        run_file = self._stores.path / RUN_FILE
        write_private(run_file, json.dumps(told))
        self._undo.callback(lambda: run_file.unlink(missing_ok=True))
        notify("READY=1")
        self._undo.callback(lambda: notify("STOPPING=1"))

    # -- what the parts ask of each other

    def _now(self) -> datetime:
        return self._stores.clock.now()

    def _bearer(self, token: str) -> Bearer:
        grant = self._stores.access.verify(token, self._now())
        return Bearer(grant.scope.role.value, grant.scope.name)

    def _vitals(self) -> Vitals:
        return Vitals(
            self._stores,
            self._engine,
            self._broker,
            self._follower,
            self._intake,
            acknowledged=lambda: self._outbox.acknowledged,
            reads=lambda: {health.reader: health.reads for health in self._supervisor.health()},
        )

    def _reader_health(self, reader: str, lost: bool, reason: str | None) -> None:
        now = self._now()
        name = f"dev:{reader}:{self._stores.log.epoch}.{int(now.timestamp() * 1e6)}"
        self._engine.submit(cmd.ReportReader(id=name, at=now, reader=reader, lost=lost, reason=reason))
        log.warning("reader %s is lost: %s", reader, reason) if lost else log.info("reader %s works", reader)

    def _mqtt_users(self) -> list[Any]:
        return list(self._stores.access.mqtt_users(self._now()))

    def _tokens_changed(self) -> None:
        if self._embedded is not None:
            self._embedded.reload(self._mqtt_users())

    def _digest(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The live state's digest, and the event it stands at."""
        seq, state = self._engine.committed
        return {"seq": seq, "digest": digest(state)}

    def _status(self, online: bool) -> bytes:
        store = self._settings.store.id
        return canonical(
            {
                "specversion": "1.0",
                "id": f"status.{rfc3339(self._now())}",
                "source": f"soglia/{store}",
                "type": "soglia.gateway-status.v1",
                "time": rfc3339(self._now()),
                "datacontenttype": "application/json",
                "data": {"online": online},
            }
        )

    def _beat(self) -> None:
        """Once a second: has the clock jumped, has a token of the broker's expired?"""
        expiry = self._stores.access.next_expiry(self._now())
        while not self._stopping.wait(_BEAT_SECONDS):
            if (jump := self._stores.clock.check()) is not None:
                self._submit_jump(jump)
            if expiry is not None and expiry <= self._now():
                self._tokens_changed()
            expiry = self._stores.access.next_expiry(self._now())

    def _submit_jump(self, jump: Adjustment) -> None:
        now = self._now()
        name = f"clock:{self._stores.log.epoch}.{int(now.timestamp() * 1e6)}"
        by, trusted = jump.by_milliseconds, jump.trusted
        self._engine.submit(cmd.AdjustClock(id=name, at=now, by_milliseconds=by, trusted=trusted))
        log.warning("the clock jumped by %d ms", by)


def _decode_picture(octets: bytes) -> Sequence[tuple[str, str]]:
    from devices.readers.pictures import decode_picture  # the picture libraries load when first needed

    return decode_picture(octets)


def _spare_the_collector() -> None:
    """What is loaded now stays, and what comes holds hardly a cycle: looking through all of it for cycles at every
    few hundred objects took a third of the engine's time (measured: 690 ms became 500 for 3,000 reads)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
