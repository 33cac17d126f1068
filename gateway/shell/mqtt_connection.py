"""One MQTT 3.1.1 connection by paho: the only file that imports it (and paho stays: see the decision of that name).

paho queues and resends by itself what was published while the link was down. Here it never does: `publish`
fails at once without a link, and what was on its way when the link broke fails too. The log is the truth, and
its follower knows what to send again.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.core.errors import PeerError
from gateway.shell.broker import Message
from gateway.shell.endpoint import Endpoint

MAX_INFLIGHT, MAX_QUEUED = 1000, 10_000
FIRST_DELAY, LAST_DELAY = 0.25, 10.0
KEEPALIVE_SECONDS, CONNECT_SECONDS, FAREWELL_SECONDS = 15, 5.0, 2.0

log = logging.getLogger("soglia.broker")
_ACKED: Future[None] = Future()  # stands in `_pending` for a PUBACK that was quicker than its publisher
matches = paho.topic_matches_sub


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message as it came in. `mid` means something only within connection number `generation`."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int
    generation: int


class Connection:
    """One client and its thread: connects, stays connected, and tells one connection from the next.

    paho runs on that thread alone; whoever publishes or acknowledges queues a packet and wakes it. (Writing
    to the socket from the caller's thread was measured: no sooner there, and twice as dear for the caller.)
    Callbacks run on the connection's own thread.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        client_id: str,
        username: str,
        password: str,
        *,
        lasting: bool = False,
        will: Message | None = None,
    ) -> None:
        """A `lasting` one has a session that outlives the connection and acknowledges by hand."""
        self.name = name
        self.up = False
        self.error: PeerError | None = None
        self.on_reached: Callable[[], None] = lambda: None
        self.on_connect: Callable[[], None] = self.ready
        self.on_subscribed: Callable[[bool], None] = lambda granted: None
        self.on_greeted: Callable[[], None] = lambda: None
        self.on_arrival: Callable[[Arrival], None] = lambda arrival: None
        self.on_change: Callable[[], None] = lambda: None
        self.on_turn: Callable[[], None] = lambda: None
        self.may_connect: Callable[[], bool] = lambda: True
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=not lasting,
            manual_ack=lasting,
            protocol=paho.MQTTv311,
        )
        self._client.username_pw_set(username, password)
        if will is not None:
            self._client.will_set(will.topic, will.payload, will.qos, will.retain)
        self._generation = self._serving = 0
        self._fresh = False
        self._greetings: set[int] = set()
        self._pending: dict[int, Future[None]] = {}
        self._early: set[Future[None]] = set()
        self._settled: list[Future[None]] = []
        self._state = threading.Lock()
        self._stop = threading.Event()
        self._closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"mqtt-{name}", daemon=True)
        self._set_up(endpoint)

    def _set_up(self, endpoint: Endpoint) -> None:
        client = self._client
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.max_queued_messages_set(MAX_QUEUED)
        client.connect_timeout = CONNECT_SECONDS
        if endpoint.tls is not None:
            client.tls_set_context(endpoint.tls)
        client.on_socket_open = _no_delay
        client.on_socket_register_write = _nothing  # else paho writes from inside its own locks
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_publish = self._published
        client.on_message = self._message
        client.connect_async(endpoint.host, endpoint.port, KEEPALIVE_SECONDS)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end the thread; a second call does nothing."""
        self._stop.set()
        with self._state:
            if not self._closed:
                os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join(FAREWELL_SECONDS)
            self._shut()  # the broker hangs: it does not even take the DISCONNECT
            self._thread.join()
        with self._state:
            if not self._closed:
                self._closed = True
                os.close(self._wake)

    def ready(self) -> None:
        """The link is good for use from now on."""
        with self._state:
            if self._serving != self._generation:
                return
            self.up = self._fresh = True  # announced after this turn, outside paho's locks
        self.error = None

    def fail(self, error: PeerError) -> None:
        """Give this connection up for the reason in `error`, and try again after a while."""
        self._remember(error)
        self._shut()

    def publish(self, message: Message, future: Future[None]) -> None:
        """Send and settle `future`: at the PUBACK, or at once for QoS 0 or without a link."""
        self.publish_all([(message, future)])

    def publish_all(self, messages: Sequence[tuple[Message, Future[None]]]) -> None:
        """Send several, in order, and wake the connection's thread once for all of them."""
        settled: list[tuple[Future[None], tuple[str, str] | None]] = []
        with self._state:
            for message, future in messages:
                error = self._send(message, future) if self.up else _DOWN
                if error is not None or future in self._early or message.qos == 0:
                    self._early.discard(future)
                    settled.append((future, error))
            if self.up:
                os.eventfd_write(self._wake, 1)
        for future, error in settled:  # outside the lock: a future's callbacks may take any
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(PeerError(*error))

    def _send(self, message: Message, future: Future[None]) -> tuple[str, str] | None:
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        if sent.rc is MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return _CONGESTED
        if message.qos and self._pending.setdefault(sent.mid, future) is _ACKED:
            del self._pending[sent.mid]
            self._early.add(future)  # the PUBACK was quicker than we are
        return None

    def greet(self, message: Message) -> None:
        """Send from a callback, before the link is up; `on_greeted` is called at its PUBACK."""
        sent = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        self._greetings.add(sent.mid)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Subscribe at QoS 1, from `on_connect`."""
        self._client.subscribe([(topic, 1) for topic in topics])

    def acknowledge(self, mid: int, generation: int) -> None:
        """PUBACK, if this is still the connection that brought the message: the next one counts ids anew."""
        with self._state:
            if generation != self._generation:
                return
            self._client.ack(mid, 1)
            os.eventfd_write(self._wake, 1)

    def _run(self) -> None:
        delay = FIRST_DELAY
        while not self._stop.is_set():
            if not self.may_connect():
                self._stop.wait(0.01)
                continue
            good = False
            try:
                good = self._reach() and self._serve()
            except Exception:
                log.exception("the %s connection failed inside and is made again", self.name)
            delay = FIRST_DELAY if good else delay
            self._stop.wait(delay)
            delay = min(delay * 2, LAST_DELAY)

    def _reach(self) -> bool:
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            self._remember(
                PeerError("broker-unreachable", f"The broker cannot be reached ({why}): is it running?")
            )
            return False
        return True

    def _serve(self) -> bool:
        """Serve one connection to its end; whether it was ever good."""
        with self._state:
            self._serving = self._generation
        self.on_reached()
        try:
            return self._pump()
        finally:
            self._lost()

    def _pump(self) -> bool:
        was_up = stopping = False
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while (sock := self._client.socket()) is not None and (descriptor := sock.fileno()) >= 0:
            if self._stop.is_set() and not stopping:
                stopping = True
                self._client.disconnect()
            poll.register(descriptor, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
            waiting = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            events = dict(poll.poll(0 if waiting else 500))
            if self._wake in events:
                os.eventfd_read(self._wake)
            self._turn(readable=waiting or bool(events.get(descriptor, 0) & ~select.POLLOUT))
            was_up = was_up or self.up
        return was_up

    def _turn(self, readable: bool) -> None:
        if readable:
            self._client.loop_read()
        if self._client.want_write():
            self._client.loop_write()
        self._client.loop_misc()
        if self._settled:
            settled, self._settled = self._settled, []
            for future in settled:
                future.set_result(None)
        if self._fresh:
            self._fresh = False
            self.on_change()
        self.on_turn()

    def _lost(self) -> None:
        with self._state:
            self._generation += 1
            self.up = False
        self._client.drop_out_messages()
        self._greetings.clear()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if future is not _ACKED:
                future.set_exception(PeerError(*_LOST))
        self.on_change()

    def _remember(self, error: PeerError) -> None:
        if self.error is None or self.error.reason != error.reason:
            log.warning("%s connection: %s", self.name, error)
        self.error = error

    def _shut(self) -> None:
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is closed already, which is what was wanted

    def _connected(
        self,
        _: paho.Client,
        __: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        more: Properties | None,
    ) -> None:
        if reason.is_failure:
            detail = f"The broker refused our login ({reason}): check user name and password."
            self._remember(PeerError("broker-refused", detail))
        else:
            self.on_connect()

    def _disconnected(
        self,
        _: paho.Client,
        __: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        more: Properties | None,
    ) -> None:
        with self._state:
            self._generation += 1
            self.up = False
        if self.error is None and not self._stop.is_set():
            self._remember(PeerError("broker-link-lost", f"The link broke ({reason}): connecting again."))

    def _subscribed(
        self, _: paho.Client, __: object, mid: int, reasons: list[ReasonCode], more: Properties | None
    ) -> None:
        self.on_subscribed(not any(reason.is_failure for reason in reasons))

    def _published(
        self, _: paho.Client, __: object, mid: int, reason: ReasonCode, more: Properties | None
    ) -> None:
        if mid in self._greetings:
            self._greetings.discard(mid)
            self.on_greeted()
            return
        future = self._pending.setdefault(mid, _ACKED)
        if future is not _ACKED:
            del self._pending[mid]
            self._settled.append(future)  # settled outside paho's locks: its callbacks may take any lock

    def _message(self, _: paho.Client, __: object, message: paho.MQTTMessage) -> None:
        try:
            payload = bytes(message.payload)
            self.on_arrival(
                Arrival(message.topic, payload, message.qos, message.retain, message.mid, self._serving)
            )
        except Exception:
            log.exception("a message could not be taken in: it stays unacknowledged, to be delivered again")


_DOWN = ("broker-down", "The broker is not connected, so nothing was sent: send again later.")
_CONGESTED = (
    "broker-congested",
    "Too much waits for the broker already, so nothing was sent: send again later.",
)
_LOST = ("broker-link-lost", "The link broke before the broker answered: send again if it still matters.")


def _no_delay(client: paho.Client, _: object, sock: object) -> None:
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 10_000)


def _nothing(*_: object) -> None:
    return
