"""One suite for every broker: the fake, the embedded one, and Mosquitto with our exported files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.errors import PeerError, Refused
from gateway.shell.broker import Broker, Delivery, Message
from tests.rigs.device import Device, Heard, eventually
from tests.rigs.mosquitto import needs_mosquitto
from tests.rigs.shops import OFFLINE, ONLINE, PREFIX, EmbeddedShop, FakeShop, MosquittoShop, Shop

SUBSCRIPTIONS = ("readers/+/reads", "readers/+/status", "clerks/+/commands", "clerks/+/status")
SECONDS = 20.0
ON_MOSQUITTO = pytest.param(MosquittoShop, id="mosquitto", marks=[needs_mosquitto, pytest.mark.mosquitto])
ON_EMBEDDED = pytest.param(EmbeddedShop, id="embedded")


REAL = pytest.mark.parametrize("dark_shop", [ON_EMBEDDED, ON_MOSQUITTO], indirect=True)
Real = EmbeddedShop | MosquittoShop


class Gateway:
    """The gateway's side: notes what arrives and how the link fares, and acknowledges only when told to."""

    def __init__(self, broker: Broker, acknowledge: bool = True) -> None:
        self.broker = broker
        self.links: list[bool] = []
        self.deliveries: list[Delivery] = []
        self.acknowledge = acknowledge
        self._changed = threading.Condition()
        broker.start(SUBSCRIPTIONS, self._message, self._link)

    def until_linked(self, up: bool) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.links[-1:] == [up], SECONDS), self.links

    def until(self, count: int) -> list[Delivery]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.deliveries) >= count, SECONDS), self.payloads
            return list(self.deliveries)

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.payload for delivery in self.deliveries]

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.broker.publish(Message(topic, payload, retain=retain)).result(SECONDS)

    def _message(self, delivery: Delivery) -> None:
        with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()
        if self.acknowledge:
            delivery.ack()

    def _link(self, up: bool) -> None:
        with self._changed:
            self.links.append(up)
            self._changed.notify_all()


@pytest.fixture(params=[pytest.param(FakeShop, id="fake"), ON_EMBEDDED, ON_MOSQUITTO])
def dark_shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop whose broker has not been started."""
    shop: Shop = request.param(tmp_path)
    yield shop
    shop.close()


@pytest.fixture
def shop(dark_shop: Shop) -> Shop:
    dark_shop.start()
    return dark_shop


@pytest.fixture
def gateway(shop: Shop) -> Iterator[Gateway]:
    gateway = Gateway(shop.gateway())
    gateway.until_linked(True)
    yield gateway
    gateway.broker.stop()


def test_messages_go_both_ways(shop: Shop, gateway: Gateway) -> None:
    marco = shop.client("clerk:marco")
    assert marco.subscribe("clerks/marco/alerts")
    gateway.publish("clerks/marco/alerts", b"she is here")
    assert marco.until_heard(1) == [Heard("clerks/marco/alerts", b"she is here", False)]

    marco.publish("clerks/marco/commands", b"coming")
    shop.client("reader:door.1").publish("readers/door.1/reads", b"a card")
    came = gateway.until(2)
    assert {(each.topic, each.payload) for each in came} == {
        ("clerks/marco/commands", b"coming"),
        ("readers/door.1/reads", b"a card"),
    }


def test_a_message_to_one_pattern_is_heard_by_all_who_match_it(shop: Shop, gateway: Gateway) -> None:
    kiosk, marco = shop.client("kiosk:k1"), shop.client("clerk:marco")
    assert kiosk.subscribe("visits/+/state")
    assert marco.subscribe("visits/+/state")
    gateway.publish("visits/v-1/state", b"open")
    gateway.publish("visits/v.2/state", b"over")
    expected = [("visits/v-1/state", b"open"), ("visits/v.2/state", b"over")]
    assert [(each.topic, each.payload) for each in kiosk.until_heard(2)] == expected
    assert [(each.topic, each.payload) for each in marco.until_heard(2)] == expected


def test_what_is_not_acknowledged_comes_again_and_what_is_does_not(shop: Shop) -> None:
    first = Gateway(shop.gateway(), acknowledge=False)
    first.until_linked(True)
    reader = shop.client("reader:door.1")
    for number in range(4):
        reader.publish("readers/door.1/reads", b"%d" % number)
    for delivery in first.until(4):
        if delivery.payload in (b"0", b"2"):
            delivery.ack()
    first.broker.stop()
    shop.restart()

    second = Gateway(shop.gateway())
    second.until_linked(True)
    shop.client("reader:door.1").publish("readers/door.1/reads", b"last")
    eventually(lambda: {b"1", b"3", b"last"} <= set(second.payloads), "the unacknowledged reads")
    assert set(second.payloads) == {b"1", b"3", b"last"}
    second.broker.stop()


def test_an_acknowledgement_from_before_a_reconnect_does_nothing(shop: Shop, gateway: Gateway) -> None:
    gateway.acknowledge = False
    reader = shop.client("reader:door.1")
    reader.publish("readers/door.1/reads", b"old")
    old = gateway.until(1)[0]
    shop.restart()
    eventually(lambda: gateway.payloads.count(b"old") >= 2, "the same read once more")
    for _ in range(100):  # it would answer the new delivery, whose id may well be the same
        old.ack()
    shop.restart()
    eventually(lambda: gateway.payloads.count(b"old") >= 3, "the read, still unacknowledged")


def test_messages_wait_for_a_gateway_that_is_away(shop: Shop, gateway: Gateway) -> None:
    gateway.broker.stop()
    reader = shop.client("reader:door.1")
    for number in range(3):
        reader.publish("readers/door.1/reads", b"%d" % number)
    again = Gateway(shop.gateway())
    assert [delivery.payload for delivery in again.until(3)] == [b"0", b"1", b"2"]
    again.broker.stop()


def test_retained_messages_are_marked_for_those_who_come_later(shop: Shop) -> None:
    shop.client("reader:door.1").publish("readers/door.1/status", b"ready", retain=True)
    gateway = Gateway(shop.gateway())
    assert [(each.topic, each.payload, each.retain) for each in gateway.until(1)] == [
        ("readers/door.1/status", b"ready", True)
    ]
    marco = shop.client("clerk:marco")
    gateway.until_linked(True)
    assert marco.subscribe("gateway/status")
    assert marco.until_heard(1) == [Heard("gateway/status", ONLINE, True)]
    gateway.broker.stop()
    assert marco.until_heard(2)[-1].payload == OFFLINE


def test_the_last_will_speaks_for_a_gateway_that_vanishes(shop: Shop, gateway: Gateway) -> None:
    marco = shop.client("clerk:marco")
    assert marco.subscribe("gateway/status")
    assert marco.until_heard(1)[0].payload == ONLINE
    shop.cut()
    assert marco.until_heard(2)[1].payload == OFFLINE
    shop.heal()
    assert marco.until_heard(3)[2].payload == ONLINE


def test_a_lost_link_fails_what_is_on_its_way(shop: Shop, gateway: Gateway) -> None:
    gateway.publish("floor/alerts", b"the control: this one is answered")
    shop.hold()
    pending = [gateway.broker.publish(Message("floor/alerts", b"%d" % number)) for number in range(50)]
    assert not any(future.done() for future in pending)
    shop.cut()
    gateway.until_linked(False)
    for future in pending:
        error = future.exception(SECONDS)
        assert isinstance(error, PeerError)
        assert error.reason == "broker-link-lost"
    assert not gateway.broker.connected

    down = gateway.broker.publish(Message("floor/alerts", b"nobody there")).exception(0.0)
    assert isinstance(down, PeerError)
    assert down.reason == "broker-down"
    shop.heal()
    gateway.until_linked(True)
    assert gateway.links == [True, False, True]
    gateway.publish("floor/alerts", b"again")


def test_nothing_published_without_a_link_is_sent_later(shop: Shop, gateway: Gateway) -> None:
    marco = shop.client("clerk:marco")
    assert marco.subscribe("floor/alerts")
    shop.cut()
    gateway.until_linked(False)
    with pytest.raises(PeerError):
        gateway.publish("floor/alerts", b"stale")
    shop.heal()
    gateway.until_linked(True)
    gateway.publish("floor/alerts", b"fresh")
    assert [each.payload for each in marco.until_heard(1)] == [b"fresh"]


def test_the_link_comes_up_when_the_broker_does(dark_shop: Shop) -> None:
    gateway = Gateway(dark_shop.gateway())
    assert not gateway.broker.connected
    with pytest.raises(PeerError, match="broker-down"):
        gateway.publish("floor/alerts", b"too early")
    dark_shop.start()
    gateway.until_linked(True)
    gateway.publish("floor/alerts", b"in time")
    gateway.broker.stop()


def test_the_link_survives_a_restart_of_the_broker(shop: Shop, gateway: Gateway) -> None:
    shop.restart()
    eventually(lambda: gateway.links == [True, False, True], "the link's return")
    shop.client("reader:door.1").publish("readers/door.1/reads", b"after")
    assert gateway.until(1)[-1].payload == b"after"


def test_what_is_too_large_is_refused_and_the_link_stays(shop: Shop, gateway: Gateway) -> None:
    gateway.publish("floor/alerts", b"x" * 65536)
    with pytest.raises(Refused, match="message-too-large"):
        gateway.publish("floor/alerts", b"x" * 65537)
    gateway.publish("floor/alerts", b"small")
    assert gateway.links == [True]


@REAL  # the fake runs its consumer inside the sender's call, so its exception is the sender's
def test_a_consumer_that_fails_costs_one_delivery_and_not_the_link(shop: Real) -> None:
    broker = shop.gateway()
    taken: list[bytes] = []

    def consume(delivery: Delivery) -> None:
        if delivery.payload == b"poison":
            raise ValueError(delivery.payload)
        taken.append(delivery.payload)
        delivery.ack()

    up = threading.Event()
    broker.start(SUBSCRIPTIONS, consume, lambda linked: up.set())
    assert up.wait(SECONDS)
    reader = shop.client("reader:door.1")
    reader.publish("readers/door.1/reads", b"poison")
    reader.publish("readers/door.1/reads", b"good")
    eventually(lambda: taken == [b"good"], "the read after the poisonous one")
    assert broker.connected
    broker.stop()


@REAL  # in the fake, what is held has been taken already: only its answer is missing
def test_what_was_on_its_way_is_not_sent_again_by_itself(shop: Real, gateway: Gateway) -> None:
    marco = shop.client("clerk:marco")
    assert marco.subscribe("floor/alerts")
    shop.hold()
    lost = gateway.broker.publish(Message("floor/alerts", b"lost"))
    shop.cut()
    assert isinstance(lost.exception(SECONDS), PeerError)
    shop.heal()
    gateway.until_linked(True)
    gateway.publish("floor/alerts", b"the follower's decision")
    assert [each.payload for each in marco.until_heard(1)] == [b"the follower's decision"]


@REAL
def test_a_clerk_hears_only_her_own_alerts(shop: Real, gateway: Gateway) -> None:
    marco, anna = shop.client("clerk:marco"), shop.client("clerk:anna")
    assert marco.subscribe("clerks/marco/alerts")
    anna.subscribe("clerks/marco/alerts")  # nats says no; Mosquitto says yes and sends nothing
    anna.subscribe("clerks/+/alerts")
    assert anna.subscribe("clerks/anna/alerts")
    gateway.publish("clerks/marco/alerts", b"for marco")
    gateway.publish("clerks/anna/alerts", b"for anna")
    assert [each.payload for each in marco.until_heard(1)] == [b"for marco"]
    assert [each.payload for each in anna.until_heard(1)] == [b"for anna"]


@REAL
@pytest.mark.parametrize(
    ("scope", "forbidden", "allowed"),
    [
        ("clerk:anna", "clerks/marco/commands", "clerks/anna/commands"),
        ("clerk:anna", "readers/door.1/reads", "clerks/anna/status"),
        ("reader:door.1", "readers/k1/reads", "readers/door.1/reads"),
        ("kiosk:k1", "readers/door.1/reads", "readers/k1/reads"),
    ],
)
def test_a_client_speaks_only_for_itself(
    shop: Real, gateway: Gateway, scope: str, forbidden: str, allowed: str
) -> None:
    client = shop.client(scope)
    client.publish(forbidden, b"forged")  # acknowledged, and dropped
    client.publish(allowed, b"honest")
    assert [(each.topic, each.payload) for each in gateway.until(1)] == [(allowed, b"honest")]


@REAL
def test_nobody_enters_without_a_valid_token(shop: Real, gateway: Gateway) -> None:
    stranger = Device(shop.port, "clerk/marco", "not the token")
    assert stranger.refused
    borrowed = Device(shop.port, "clerk/marco", shop.tokens["clerk:anna"].token)
    assert borrowed.refused
    stranger.close()
    borrowed.close()


@REAL
def test_a_revoked_client_is_cut_and_stays_out(shop: Real, gateway: Gateway) -> None:
    marco, anna = shop.client("clerk:marco"), shop.client("clerk:anna")
    assert not marco.device.lost.is_set()
    shop.access.revoke(shop.tokens["clerk:marco"].id)
    shop.users_changed()
    assert marco.device.lost.wait(SECONDS)
    assert Device(shop.port, "clerk/marco", shop.tokens["clerk:marco"].token).refused
    if isinstance(shop, EmbeddedShop):  # nobody else notices
        anna.publish("clerks/anna/commands", b"still here")
        assert gateway.until(1)[-1].payload == b"still here"
        assert gateway.links == [True]
    eventually(lambda: gateway.broker.connected, "the gateway's link")


@REAL
def test_the_whole_topic_carries_the_stores_prefix(shop: Real, gateway: Gateway) -> None:
    marco = shop.client("clerk:marco")
    assert marco.subscribe("floor/alerts")
    gateway.publish("floor/alerts", b"all hands")
    marco.until_heard(1)
    assert marco.device.heard[0].topic == PREFIX + "floor/alerts" == "soglia/v1/milano-01/floor/alerts"
