"""A broker in memory that holds the same contract as the real ones. Import it from `gateway.testing`."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from gateway.core.errors import PeerError, Refused
from gateway.shell.broker import Delivery, Message, OnLink, OnMessage

MAX_PAYLOAD = 64 * 1024
STATUS = "gateway/status"


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic filter (`+` one level, `#` the rest) takes in `topic`."""
    wanted, given = pattern.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


class FakeBroker:
    """The gateway's side is `Broker`; the store's side is `send`, `listen` and `sent`; `cut`, `heal`,
    `restart` and `hold_answers` are what may go wrong.

    Callbacks run inside the call that causes them. The gateway's session outlives `stop`, `cut` and `restart`:
    what it has not acknowledged is delivered again, and what came in between waits for it.
    """

    def __init__(self, *, online: bytes = b"online", offline: bytes = b"offline", up: bool = True) -> None:
        """`up=False` is a broker that is down when the gateway starts; `heal` brings it up."""
        self.sent: list[Message] = []
        self.hold_answers = False
        self._online, self._offline, self._reachable = online, offline, up
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._generation = 0
        self._started = self._linked = False
        self._subscriptions: tuple[str, ...] = ()
        self._waiting: dict[int, tuple[str, bytes]] = {}
        self._retained: dict[str, bytes] = {}
        self._unanswered: list[Future[None]] = []
        self._listeners: list[tuple[str, Callable[[Message], None]]] = []
        self._on_message: OnMessage = lambda delivery: None
        self._on_link: OnLink = lambda up: None

    # -- the gateway's side

    def start(self, subscriptions: Sequence[str], on_message: OnMessage, on_link: OnLink) -> None:
        """See `Broker.start`."""
        with self._lock:
            self._subscriptions, self._on_message, self._on_link = tuple(subscriptions), on_message, on_link
            self._started = True
            self._connect()

    def publish(self, message: Message) -> Future[None]:
        """See `Broker.publish`; while `hold_answers` is set, no PUBACK comes."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if len(message.payload) > MAX_PAYLOAD:
                future.set_exception(Refused("message-too-large", "A message may have 65,536 bytes at most."))
            elif not self._linked:
                future.set_exception(
                    PeerError("broker-down", "The broker is not connected: send again later.")
                )
            else:
                self.sent.append(message)
                self._take(message)
                self._unanswered.append(future)
                if not self.hold_answers:
                    self.answer()
        return future

    def publish_all(self, messages: Sequence[Message]) -> list[Future[None]]:
        """See `Broker.publish_all`."""
        return [self.publish(message) for message in messages]

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self._linked

    def stop(self) -> None:
        """See `Broker.stop`."""
        with self._lock:
            if self._linked:
                self._take(Message(STATUS, self._offline, retain=True))
            self._started = False
            self._disconnect()

    # -- the store's side

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """A device publishes at QoS 1; the gateway gets it now, or when its link is up again."""
        with self._lock:
            self._take(Message(topic, payload, retain=retain))

    def listen(self, pattern: str, listener: Callable[[Message], None]) -> None:
        """A device subscribes: `listener` hears what is retained (with `retain` set) and all that follows."""
        with self._lock:
            self._listeners.append((pattern, listener))
            for topic, payload in list(self._retained.items()):
                if topic_matches(pattern, topic):
                    listener(Message(topic, payload, retain=True))

    @property
    def unacknowledged(self) -> tuple[str, ...]:
        """The topics of what the gateway has not acknowledged yet, oldest first."""
        with self._lock:
            return tuple(topic for topic, _ in self._waiting.values())

    def answer(self) -> None:
        """The PUBACKs that were held come now."""
        with self._lock:
            unanswered, self._unanswered = self._unanswered, []
        for future in unanswered:
            future.set_result(None)

    def cut(self) -> None:
        """The link breaks, and the last will is sent; it stays down until `heal`."""
        with self._lock:
            self._reachable = False
            if self._linked:
                self._disconnect()
                self._take(Message(STATUS, self._offline, retain=True))

    def heal(self) -> None:
        """The broker can be reached again."""
        with self._lock:
            self._reachable = True
            self._connect()

    def restart(self) -> None:
        """The broker ends and comes back with its sessions."""
        self.cut()
        self.heal()

    # -- inside

    def _take(self, message: Message) -> None:
        if message.retain:
            self._retained[message.topic] = message.payload
        if any(topic_matches(pattern, message.topic) for pattern in self._subscriptions):
            number = next(self._numbers)
            self._waiting[number] = (message.topic, message.payload)
            if self._linked:
                self._deliver(number)
        for pattern, listener in list(self._listeners):
            if topic_matches(pattern, message.topic):
                listener(Message(message.topic, message.payload, message.qos))

    def _connect(self) -> None:
        if not (self._started and self._reachable) or self._linked:
            return
        self._generation += 1
        self._linked = True
        self._take(Message(STATUS, self._online, retain=True))
        self._on_link(True)
        for number in list(self._waiting):
            self._deliver(number)
        for topic, payload in list(self._retained.items()):
            if any(topic_matches(pattern, topic) for pattern in self._subscriptions):
                self._on_message(Delivery(topic, payload, True, _nothing))

    def _disconnect(self) -> None:
        self._generation += 1
        unanswered, self._unanswered = self._unanswered, []
        for future in unanswered:
            future.set_exception(PeerError("broker-link-lost", "The link broke before the broker answered."))
        if self._linked:
            self._linked = False
            self._on_link(False)

    def _deliver(self, number: int) -> None:
        if number in self._waiting:  # an acknowledgement may have come meanwhile
            topic, payload = self._waiting[number]
            ack = partial(self._acknowledge, number, self._generation)
            self._on_message(Delivery(topic, payload, False, ack))

    def _acknowledge(self, number: int, generation: int) -> None:
        with self._lock:
            if generation == self._generation:
                self._waiting.pop(number, None)


def _nothing() -> None:
    return
