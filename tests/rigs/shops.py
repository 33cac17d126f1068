"""A store with its broker, its gateway and its devices: one face over the fake, the embedded one and Mosquitto."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from gateway.shell.access import Access, Scope, bcrypt_hash, mosquitto_hash
from gateway.shell.broker import Broker, Message
from gateway.shell.embedded import EmbeddedBroker
from gateway.shell.keys import Keys
from gateway.shell.logins import Login, client_ids
from gateway.shell.mqtt import MqttBroker
from gateway.shell.permissions import GATEWAY, MqttUser, mosquitto_acl, mosquitto_passwords
from gateway.testing import FakeBroker
from tests.rigs.device import Device, Heard, eventually
from tests.rigs.link import Link
from tests.rigs.mosquitto import Mosquitto, free_port

STORE = "milano-01"
PREFIX = f"soglia/v1/{STORE}/"
ONLINE, OFFLINE = b'{"online":true}', b'{"online":false}'
SCOPES = ("clerk:marco", "clerk:anna", "reader:door.1", "kiosk:k1", "operator")
AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


class Client(Protocol):
    """What a device of the store can do; topics are below the store's prefix."""

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None: ...
    def subscribe(self, topic: str) -> bool: ...
    def until_heard(self, count: int) -> list[Heard]: ...


class Shop(Protocol):
    """`gateway` may be asked for before `start`, and again after the first one has stopped."""

    def start(self) -> None: ...
    def restart(self) -> None:
        """The broker ends and comes back by itself or by its service manager, with what it keeps."""
        ...

    def gateway(self) -> Broker: ...
    def client(self, scope: str) -> Client: ...
    def cut(self) -> None: ...
    def hold(self) -> None: ...
    def heal(self) -> None: ...
    def close(self) -> None: ...


class FakeShop:
    """Over `FakeBroker`."""

    def __init__(self, directory: Path) -> None:
        self._broker = FakeBroker(online=ONLINE, offline=OFFLINE, up=False)

    def start(self) -> None:
        self._broker.heal()

    def restart(self) -> None:
        self._broker.restart()

    def gateway(self) -> Broker:
        return self._broker

    def client(self, scope: str) -> Client:
        return _FakeClient(self._broker)

    def cut(self) -> None:
        self._broker.cut()

    def hold(self) -> None:
        self._broker.hold_answers = True

    def heal(self) -> None:
        self._broker.hold_answers = False
        self._broker.heal()

    def close(self) -> None:
        return


class _FakeClient:
    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self._heard: list[Heard] = []

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self._broker.send(topic, payload, retain=retain)

    def subscribe(self, topic: str) -> bool:
        self._broker.listen(topic, self._listen)
        return True

    def _listen(self, message: Message) -> None:
        self._heard.append(Heard(message.topic, message.payload, message.retain))

    def until_heard(self, count: int) -> list[Heard]:
        assert len(self._heard) >= count, f"in vain; heard {self._heard}"
        return list(self._heard)


class _RealShop:
    """What both real brokers share: tokens, a cable to the gateway that can be cut, and devices."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.keys = Keys.open(directory / "keys.db")
        self.access = Access(self.keys)
        self.tokens = {scope: self.access.issue(Scope.parse(scope), None, AT) for scope in SCOPES}
        self.port = free_port()
        self.link = Link(self.port)
        self._open: list[Callable[[], None]] = []

    def users(self) -> tuple[MqttUser, ...]:
        return self.access.mqtt_users(AT)

    def login(self) -> Login:
        raise NotImplementedError

    def heal_store(self) -> None:
        return

    def gateway(self) -> MqttBroker:
        return MqttBroker(
            f"mqtt://127.0.0.1:{self.link.port}", self.login(), STORE, online=ONLINE, offline=OFFLINE
        )

    def client(self, scope: str) -> _RealClient:
        client = _RealClient(self.port, Scope.parse(scope).username, self.tokens[scope].token)
        self._open.append(client.device.close)
        return client

    def cut(self) -> None:
        self.link.cut()

    def hold(self) -> None:
        self.link.hold()

    def heal(self) -> None:
        self.link.heal()

    def close(self) -> None:
        for close in self._open:
            close()
        self.link.close()
        self.keys.close()


class _RealClient:
    def __init__(self, port: int, username: str, password: str) -> None:
        self.device = Device(port, username, password)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.device.publish(PREFIX + topic, payload, retain)

    def subscribe(self, topic: str) -> bool:
        return self.device.subscribe(PREFIX + topic)

    def until_heard(self, count: int) -> list[Heard]:
        heard = self.device.until_heard(count)
        return [Heard(each.topic.removeprefix(PREFIX), each.payload, each.retain) for each in heard]


class EmbeddedShop(_RealShop):
    """Over nats-server and its supervisor; `restart` is kill -9."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.broker = EmbeddedBroker(directory, STORE, port=self.port)

    def start(self) -> None:
        self.broker.start(self.users())

    def restart(self) -> None:
        before, pid = self.broker.restarts, self.broker.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.broker.restarts > before and self.broker.serving, "the broker's restart")

    def login(self) -> Login:
        return self.broker.gateway_login()

    def users_changed(self) -> None:
        """The users are as `access` has them now."""
        self.broker.reload(self.users())

    def close(self) -> None:
        super().close()
        self.broker.stop()


class MosquittoShop(_RealShop):
    """Over Mosquitto with the files that `soglia broker export` writes; `restart` is an orderly one."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.password = "the gateway's own password"
        self.broker = Mosquitto(directory / "mosquitto", *self.files(), "", self.port)

    def files(self) -> tuple[str, str]:
        own = MqttUser(GATEWAY, None, bcrypt_hash(self.password), mosquitto_hash(self.password))
        everybody = (own, *self.users())
        return mosquitto_passwords(everybody), mosquitto_acl(STORE, everybody)

    def start(self) -> None:
        self.broker.start()

    def restart(self) -> None:
        self.broker.restart()

    def users_changed(self) -> None:
        """The users are as `access` has them now. Mosquitto cuts nobody on SIGHUP, so it is restarted."""
        self.broker.write(*self.files())
        self.broker.restart()

    def login(self) -> Login:
        return Login(GATEWAY, self.password, client_ids(self.directory / "clients.json"))

    def close(self) -> None:
        super().close()
        self.broker.stop()
