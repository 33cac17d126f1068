"""The store's broker over MQTT 3.1.1, embedded or any other.

Two connections, each with a thread of its own: *ingest*, whose session outlives the connection and whose
deliveries are acknowledged by hand, and *alerts*, which publishes and carries the last will. Both have
TCP_NODELAY, without which an alert waits 22 to 45 ms for Nagle's algorithm.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from gateway.core.errors import PeerError, Refused
from gateway.shell.broker import Delivery, Message, OnLink, OnMessage
from gateway.shell.endpoint import Endpoint
from gateway.shell.logins import Login
from gateway.shell.mqtt_connection import FAREWELL_SECONDS, Arrival, Connection, matches
from gateway.shell.permissions import CANARY, prefix

MAX_PAYLOAD = 64 * 1024  # a broker cuts the connection at more than its limit
CANARY_SECONDS = 10.0
ALERTS_FIRST_SECONDS = 2.0
SILENCE, CUT, STRIKES = 3, 1, 5  # two silences in a row, or five cuts, make a damaged store
STATUS = "gateway/status"
CANARY_TOPIC = f"readers/{CANARY}/reads"

log = logging.getLogger("soglia.broker")


class MqttBroker:
    """A `Broker` over TCP, for the embedded broker and for any other.

    With `canary`, the link counts as up only when what goes in has been seen to come out: a broker with a
    damaged store acknowledges everything and delivers nothing, never answers, or cuts us off each time.
    `on_swallowed` is told when that repeats; once may be a disk that stalls or a broker that restarts.
    """

    def __init__(
        self,
        url: str,
        login: Login,
        store: str,
        *,
        online: bytes,
        offline: bytes,
        ca_file: Path | None = None,
        canary: bool = True,
        canary_seconds: float = CANARY_SECONDS,
        on_swallowed: Callable[[], None] | None = None,
    ) -> None:
        """`online` and `offline` are the CloudEvents for `gateway/status`; `offline` is also the last will.

        Raises:
            PeerError: `broker-url-invalid`, `broker-ca-unreadable`.
        """
        endpoint = Endpoint.parse(url, ca_file)
        self._prefix = prefix(store) + "/"
        self._online, self._offline = online, offline
        self._canary, self._canary_seconds, self._on_swallowed = canary, canary_seconds, on_swallowed
        ids, user, password = login.client_ids, login.username, login.password
        self._ingest = Connection("ingest", endpoint, ids.ingest, user, password, lasting=True)
        will = self._status(offline)
        self._alerts = Connection("alerts", endpoint, ids.alerts, user, password, will=will)
        self._link_lock = threading.Lock()
        self._linked = False
        self._proof_due: float | None = None
        self._canary_sent = False
        self._apart_since = 0.0
        self._strikes = 0
        self._subscriptions: tuple[str, ...] = ()
        self._on_message: OnMessage = lambda delivery: None
        self._on_link: OnLink = lambda up: None

    def start(self, subscriptions: Sequence[str], on_message: OnMessage, on_link: OnLink) -> None:
        """See `Broker.start`."""
        self._subscriptions, self._on_message, self._on_link = tuple(subscriptions), on_message, on_link
        self._ingest.on_reached = self._expect_proof
        self._ingest.on_connect = self._subscribe
        self._ingest.on_subscribed = self._granted
        self._ingest.on_arrival = self._arrived
        self._ingest.on_turn = self._watch_proof
        self._alerts.on_connect = self._greet
        self._alerts.on_greeted = self._alerts.ready
        self._ingest.on_change = self._ingest_changed
        self._alerts.on_change = self._changed
        self._ingest.may_connect = self._can_answer
        self._apart_since = time.monotonic()
        self._alerts.start()
        self._ingest.start()

    def publish(self, message: Message) -> Future[None]:
        """See `Broker.publish`. Reasons: `broker-down`, `broker-link-lost`, `broker-congested`, and `Refused`
        with `message-too-large` above 64 KB, which never succeeds and must not be sent again."""
        future = _future()
        if (refused := _too_large(message)) is not None:
            future.set_exception(refused)
        else:
            self._alerts.publish(self._below(message), future)
        return future

    def publish_all(self, messages: Sequence[Message]) -> list[Future[None]]:
        """See `Broker.publish_all`."""
        futures = [_future() for _ in messages]
        fitting: list[tuple[Message, Future[None]]] = []
        for message, future in zip(messages, futures, strict=True):
            if (refused := _too_large(message)) is not None:
                future.set_exception(refused)
            else:
                fitting.append((self._below(message), future))
        self._alerts.publish_all(fitting)
        return futures

    def _below(self, message: Message) -> Message:
        return Message(self._prefix + message.topic, message.payload, message.qos, message.retain)

    @property
    def connected(self) -> bool:
        """Whether both connections are up and subscribed."""
        return self._ingest.up and self._alerts.up

    @property
    def last_error(self) -> PeerError | None:
        """Why the link is down, for the health page; None when all is well."""
        return self._alerts.error or self._ingest.error

    def stop(self) -> None:
        """See `Broker.stop`."""
        farewell = self.publish(Message(STATUS, self._offline, retain=True))
        try:
            farewell.result(FAREWELL_SECONDS)
        except (PeerError, TimeoutError):
            log.warning("the broker did not hear our farewell: it will send the last will instead")
        self._ingest.stop()
        self._alerts.stop()

    def _subscribe(self) -> None:
        if self._subscriptions:
            self._ingest.subscribe([self._prefix + topic for topic in self._subscriptions])
        else:
            self._ingest.ready()

    def _granted(self, granted: bool) -> None:
        if not granted:
            detail = "The broker forbids our subscriptions: grant them to the gateway's user."
            self._ingest.fail(PeerError("broker-forbids", detail))
        elif self._canary and any(matches(topic, CANARY_TOPIC) for topic in self._subscriptions):
            self._expect_proof()
            self._canary_sent = True
            self._ingest.greet(Message(self._prefix + CANARY_TOPIC, b"{}"))
        else:
            self._ingest.ready()

    def _arrived(self, arrival: Arrival) -> None:
        topic = arrival.topic.removeprefix(self._prefix)
        ack = partial(self._ingest.acknowledge, arrival.mid, arrival.generation) if arrival.qos else _no_ack
        if self._canary_sent and not arrival.retain and topic.endswith("/reads"):
            self._ingest.ready()  # a read that waited before the canary proves the same
        if topic == CANARY_TOPIC:
            ack()
        else:
            self._on_message(Delivery(topic, arrival.payload, arrival.retain, ack))

    def _expect_proof(self) -> None:
        if self._canary:
            self._proof_due = time.monotonic() + self._canary_seconds

    def _watch_proof(self) -> None:
        if self._proof_due is not None and time.monotonic() > self._proof_due:
            self._proof_due = None
            detail = "The broker takes messages and delivers none, or does not answer: is its store damaged?"
            self._ingest.fail(PeerError("broker-swallows", detail))
            self._strike(SILENCE)

    def _strike(self, weight: int) -> None:
        self._strikes += weight
        if self._strikes >= STRIKES and self._on_swallowed is not None:
            self._strikes = 0
            self._on_swallowed()

    def _greet(self) -> None:
        self._alerts.greet(self._status(self._online))

    def _status(self, payload: bytes) -> Message:
        return Message(self._prefix + STATUS, payload, retain=True)

    def _can_answer(self) -> bool:
        """Reads that wait in the session come with the connection: first the one that carries their receipts.
        Not for ever: a damaged store shows itself only to the ingest connection's proof."""
        return self._alerts.up or time.monotonic() - self._apart_since > ALERTS_FIRST_SECONDS

    def _ingest_changed(self) -> None:
        self._apart_since = time.monotonic()
        unproven, self._proof_due, self._canary_sent = self._proof_due is not None, None, False
        if self._ingest.up:
            self._strikes = 0
        elif unproven and (self._ingest.error is None or self._ingest.error.reason == "broker-link-lost"):
            self._strike(CUT)
        self._changed()

    def _changed(self) -> None:
        with self._link_lock:  # held over the call, so that its listener hears the changes in order
            if self.connected != self._linked:
                self._linked = not self._linked
                self._on_link(self._linked)


def _future() -> Future[None]:
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()  # what is on its way cannot be called back
    return future


def _too_large(message: Message) -> Refused | None:
    if len(message.payload) <= MAX_PAYLOAD:
        return None
    return Refused("message-too-large", "A message may have 65,536 bytes at most.")


def _no_ack() -> None:
    return
