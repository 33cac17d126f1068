"""The seam of the store's MQTT broker.

Two connections stand behind it, one for what comes in and one for what goes out, so that a burst of reads
never holds back an alert. A message that came in is acknowledged to the broker only when `ack` is called,
after the commit; without it the broker delivers again.

    do      treat the broker as disposable: our log is the truth, a receipt closes, a PUBACK closes nothing
    do      judge an incoming message by its id and age; in MQTT 3.1.1 the retained flag may be missing
    don't   block in `on_message`: it runs on the connection's own thread
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """What goes out. `topic` is below the store's prefix, e.g. `clerks/marco/alerts`."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came in. `ack` may be called from any thread, once; after a reconnect it does nothing."""

    topic: str
    payload: bytes
    retain: bool
    ack: Callable[[], None]


OnMessage = Callable[[Delivery], None]
OnLink = Callable[[bool], None]


class Broker(Protocol):
    """An MQTT broker, seen from the gateway. Topics are below `soglia/v1/{store}/` on both sides."""

    def start(self, subscriptions: Sequence[str], on_message: OnMessage, on_link: OnLink) -> None:
        """Connect both ways and stay connected; returns at once, even when the broker is down.

        `on_link(True)` when both connections are up and subscribed, `on_link(False)` when either is lost.
        """
        ...

    def publish(self, message: Message) -> Future[None]:
        """Send; the future resolves at the broker's PUBACK (QoS 1), or fails with `PeerError` if the link is
        lost first: the caller then decides whether to send again."""
        ...

    def publish_all(self, messages: Sequence[Message]) -> list[Future[None]]:
        """The same for several, in this order, written at once and by the caller's own thread where that can be:
        for what somebody waits for. Never waits for the broker."""
        ...

    @property
    def connected(self) -> bool: ...

    def stop(self) -> None:
        """Say offline, disconnect, and end the threads. Deliveries not acknowledged come again."""
        ...
