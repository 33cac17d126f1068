"""A tablet or a remote reader: an MQTT client that stays connected, and remembers all that it was told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

STORE = "milano-01"
PREFIX = f"soglia/v1/{STORE}/"
SECONDS = 20.0


@dataclass(frozen=True)
class Told:
    """A message as it came; `topic` is below the store's prefix, `at` is monotonic seconds."""

    topic: str
    payload: bytes
    retain: bool
    at: float = field(default_factory=time.monotonic)

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.payload)
        return event

    @property
    def type(self) -> str:
        return str(self.event["type"])

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.event["data"]
        return data


class Station:
    """`scope` is who it is (`clerk:marco`), `topics` what it subscribes to at each connection, below the prefix.

    With `lasting` its session outlives a connection. It connects again by itself, and is ready when made.
    """

    def __init__(
        self,
        url: str,
        scope: str,
        token: str,
        topics: Sequence[str],
        *,
        lasting: bool = False,
        on_told: Callable[[Told], None] = lambda told: None,
    ) -> None:
        self.scope, self.name = scope, scope.partition(":")[2]
        self.told: list[Told] = []
        self.denied: list[str] = []
        self.refused = threading.Event()
        self.lost = threading.Event()
        self._topics, self._on_told = list(topics), on_told
        self._changed = threading.Condition()
        self._ready = threading.Event()
        where = urlsplit(url)
        name = f"{self.name or scope}-{uuid4().hex[:8]}"
        self._client = paho.Client(CallbackAPIVersion.VERSION2, name, clean_session=not lasting)
        self._client.username_pw_set(scope.replace(":", "/"), token)
        self._client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type]  # seconds, whatever its annotation says
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message
        self._client.connect_async(where.hostname or "", where.port or 1883, keepalive=10)
        self._client.loop_start()
        deadline = time.monotonic() + SECONDS
        while not (self._ready.wait(0.05) or self.refused.is_set()):
            assert time.monotonic() < deadline, f"{scope} was never connected"

    @property
    def up(self) -> bool:
        """Whether it is connected now."""
        return self._client.is_connected()

    # -- out

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, wait: bool = True) -> None:
        """At QoS 1; `wait` for the PUBACK."""
        sent = self._client.publish(PREFIX + topic, payload, qos=1, retain=retain)
        deadline = time.monotonic() + SECONDS
        while wait and not sent.is_published():
            assert time.monotonic() < deadline, "no PUBACK"
            time.sleep(0.002)

    def read(self, name: str, technology: str = "qr", **more: Any) -> None:
        """Publish a read with the id `name`: `data` in `more`, or the envelope's fields as `envelope`."""
        envelope = more.pop("envelope", {})
        wait, retain = more.pop("wait", True), more.pop("retain", False)
        event = read_event(self.name, name, {"technology": technology, **more}) | envelope
        self.publish(f"readers/{self.name}/reads", json.dumps(event).encode(), wait=wait, retain=retain)

    def command(self, name: str, visit: str, action: str, *, wait: bool = True, **more: Any) -> None:
        """Publish a clerk's command with the id `name`."""
        event = {
            "specversion": "1.0",
            "id": name,
            "source": f"soglia/{STORE}/clerks/{self.name}",
            "type": "soglia.command.v1",
            "time": datetime.now(UTC).isoformat(),
            "data": {"visit": visit, "action": action, **more},
        }
        self.publish(f"clerks/{self.name}/commands", json.dumps(event).encode(), wait=wait)

    # -- in

    def until(self, wanted: Callable[[Told], bool], what: str = "", seconds: float = SECONDS) -> Told:
        """The first message, past ones included, for which `wanted` is true."""
        deadline, looked = time.monotonic() + seconds, 0
        with self._changed:
            while True:
                for told in self.told[looked:]:
                    if wanted(told):
                        return told
                looked = len(self.told)
                left = deadline - time.monotonic()
                heard = [t.payload for t in self.told[-5:]]
                assert left > 0, f"{self.scope} waited in vain for {what}; last heard {heard}"
                self._changed.wait(left)

    def receipt(self, name: str, count: int = 1) -> dict[str, Any]:
        """The data of the `count`-th receipt for the read or command `name`."""

        def ours(told: Told) -> bool:
            return told.topic.endswith("/receipts") and name in (
                told.data.get("read"),
                told.data.get("command"),
            )

        self.until(lambda told: sum(ours(t) for t in self.told) >= count, f"receipt {count} of {name}")
        return [told.data for told in self.told if ours(told)][count - 1]

    def alert(self, visit: str | None = None, **fields: Any) -> Told:
        """An alert of the visit whose data has these fields."""
        wanted = fields if visit is None else {"visit": visit, **fields}

        def ours(told: Told) -> bool:
            if not told.topic.endswith("/alerts") or told.type != "soglia.alert.v1":
                return False
            return all(told.data.get(key) == value for key, value in wanted.items())

        return self.until(ours, f"an alert with {wanted}")

    def of(self, visit: str, kind: str) -> list[dict[str, Any]]:
        """The data of what was told of type `kind` about the visit so far."""
        with self._changed:
            return [t.data for t in self.told if t.type == kind and t.data.get("visit") == visit]

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    # -- paho's callbacks

    def _connected(
        self, client: paho.Client, _: object, flags: object, reason: ReasonCode, more: Properties | None
    ) -> None:
        if reason.is_failure:
            self.refused.set()
        elif self._topics:
            client.subscribe([(PREFIX + topic, 1) for topic in self._topics])
        else:
            self._ready.set()

    def _disconnected(self, *_: object) -> None:
        self.lost.set()

    def _subscribed(
        self, _: paho.Client, __: object, mid: int, reasons: list[ReasonCode], more: Properties | None
    ) -> None:
        self.denied = [topic for topic, r in zip(self._topics, reasons, strict=True) if r.is_failure]
        self._ready.set()

    def _message(self, _: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        told = Told(message.topic.removeprefix(PREFIX), bytes(message.payload), message.retain)
        with self._changed:
            self.told.append(told)
            self._changed.notify_all()
        self._on_told(told)


def read_event(reader: str, name: str, data: dict[str, Any]) -> dict[str, Any]:
    """A read as a reader of the store sends it."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": f"soglia/{STORE}/readers/{reader}",
        "type": "soglia.read.v1",
        "time": datetime.now(UTC).isoformat(),
        "data": data,
    }
