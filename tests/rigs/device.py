"""A device in the store: an MQTT client with a thread, for what tablets and readers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Heard:
    """A message a device was given; `topic` is whole."""

    topic: str
    payload: bytes
    retain: bool


class Device:
    """Connected when made, unless the login is refused (`refused` is then set)."""

    def __init__(self, port: int, username: str, password: str, client_id: str = "") -> None:
        self.heard: list[Heard] = []
        self.refused = False
        self.lost = threading.Event()
        self._changed = threading.Condition()
        self._granted: dict[int, bool] = {}
        self._answered = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id, reconnect_on_failure=False)
        client.username_pw_set(username, password)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = self._message
        self._client = client
        client.connect("127.0.0.1", port)
        client.loop_start()
        assert self._answered.wait(SECONDS), "no CONNACK"

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Publish at QoS 1 and wait for the PUBACK."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        sent.wait_for_publish(SECONDS)
        assert sent.is_published(), "no PUBACK"

    def subscribe(self, topic: str) -> bool:
        """Subscribe at QoS 1; whether the broker says yes."""
        mid = self._client.subscribe(topic, 1)[1]
        assert mid is not None
        self._until(lambda: mid in self._granted)
        return self._granted[mid]

    def until_heard(self, count: int) -> list[Heard]:
        """Wait for that many messages in all."""
        self._until(lambda: len(self.heard) >= count)
        return list(self.heard)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _until(self, true: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(true, SECONDS), f"in vain; heard {self.heard}"

    def _connected(
        self, _: paho.Client, __: object, flags: object, reason: ReasonCode, more: Properties | None
    ) -> None:
        self.refused = reason.is_failure
        self._answered.set()

    def _disconnected(self, *_: object) -> None:
        self.lost.set()

    def _subscribed(
        self, _: paho.Client, __: object, mid: int, reasons: list[ReasonCode], more: Properties | None
    ) -> None:
        with self._changed:
            self._granted[mid] = not any(reason.is_failure for reason in reasons)
            self._changed.notify_all()

    def _message(self, _: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.heard.append(Heard(message.topic, bytes(message.payload), message.retain))
            self._changed.notify_all()


def eventually(true: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until a condition holds that nobody announces."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.005)
