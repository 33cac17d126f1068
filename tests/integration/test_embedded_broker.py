"""The embedded broker's supervisor against the real nats-server: crashes, damage, ports, locks, users."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.errors import PeerError
from gateway.shell import nats_wire
from gateway.shell.access import Scope
from gateway.shell.broker import Delivery, Message
from gateway.shell.embedded import EmbeddedBroker
from gateway.shell.mqtt import MqttBroker
from gateway.shell.nats_server import check_config, find_server
from tests.rigs.device import Device, eventually
from tests.rigs.shops import AT, OFFLINE, ONLINE, PREFIX, STORE, EmbeddedShop

SECONDS = 20.0


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[EmbeddedShop]:
    shop = EmbeddedShop(tmp_path)
    shop.start()
    yield shop
    shop.close()


@contextmanager
def gateway_on(
    shop: EmbeddedShop, on_swallowed: Callable[[], None] | None = None, canary_seconds: float = 10.0
) -> Iterator[tuple[MqttBroker, list[bytes]]]:
    taken: list[bytes] = []

    def take(delivery: Delivery) -> None:
        taken.append(delivery.payload)
        delivery.ack()

    broker = MqttBroker(
        f"mqtt://127.0.0.1:{shop.port}",
        shop.login(),
        STORE,
        online=ONLINE,
        offline=OFFLINE,
        canary_seconds=canary_seconds,
        on_swallowed=on_swallowed,
    )
    broker.start(("readers/+/reads",), take, lambda up: None)
    try:
        yield broker, taken
    finally:
        broker.stop()


def linked(broker: MqttBroker) -> None:
    eventually(lambda: broker.connected, "the gateway's link")


def test_kill_9_loses_no_read_that_was_acknowledged(shop: EmbeddedShop) -> None:
    with gateway_on(shop) as (broker, _):
        linked(broker)  # the session that the reads wait in
    acknowledged: list[bytes] = []
    for round_ in range(4):
        reader = shop.client("reader:door.1")
        for number in range(50):
            read = b"%d-%d" % (round_, number)
            reader.publish("readers/door.1/reads", read)
            acknowledged.append(read)
        shop.restart()
    with gateway_on(shop) as (broker, taken):
        eventually(lambda: set(taken) >= set(acknowledged), "every read that had its PUBACK")
    assert shop.broker.restarts == 4


def test_the_control_without_a_session_the_reads_are_gone(shop: EmbeddedShop) -> None:
    shop.client("reader:door.1").publish("readers/door.1/reads", b"before anybody subscribed")
    shop.restart()
    with gateway_on(shop) as (broker, taken):
        linked(broker)
        shop.client("reader:door.1").publish("readers/door.1/reads", b"after")
        eventually(lambda: b"after" in taken, "the later read")
    assert taken == [b"after"]


@pytest.mark.parametrize(
    "damaged",
    ["$MQTT_msgs/meta.inf", "$MQTT_msgs/obs/*/meta.inf", "$MQTT_sess/msgs/*.blk"],
    ids=["stream", "consumers", "sessions"],
)
def test_a_store_that_swallows_is_kept_aside_and_a_new_one_serves(tmp_path: Path, damaged: str) -> None:
    shop = EmbeddedShop(tmp_path)
    try:
        shop.start()
        with gateway_on(shop) as (broker, _):
            linked(broker)
        shop.broker.stop()
        store = tmp_path / "broker" / "js"
        damage(store, damaged)
        before: set[Path] = set()

        def set_aside() -> None:
            # What nats-server itself makes of a damaged store when it starts is not ours: from here on it is.
            before.update(path.relative_to(store) for path in store.rglob("*") if path.is_file())
            shop.broker.set_store_aside()

        shop.broker = EmbeddedBroker(tmp_path, STORE, port=shop.port)
        shop.start()
        with gateway_on(shop, set_aside, canary_seconds=0.7) as (broker, taken):
            linked(broker)
            reader = shop.client("reader:door.1")
            reader.publish("readers/door.1/reads", b"heard again")
            eventually(lambda: taken == [b"heard again"], "a read through the new store")
        (aside,) = shop.broker.moved_aside
        kept = {path.relative_to(aside) for path in aside.rglob("*") if path.is_file()}
        assert before
        assert before <= kept  # not one file was deleted
    finally:
        shop.close()


def test_the_control_without_the_canary_nobody_would_notice(tmp_path: Path) -> None:
    shop = EmbeddedShop(tmp_path)
    try:
        shop.start()
        with gateway_on(shop) as (broker, _):
            linked(broker)
        shop.broker.stop()
        damage(tmp_path / "broker" / "js", "$MQTT_msgs/obs/*/meta.inf")
        shop.broker = EmbeddedBroker(tmp_path, STORE, port=shop.port)
        shop.start()
        taken: list[Delivery] = []
        broker = MqttBroker(
            f"mqtt://127.0.0.1:{shop.port}",
            shop.login(),
            STORE,
            online=ONLINE,
            offline=OFFLINE,
            canary=False,
        )
        broker.start(("readers/+/reads", "clerks/+/commands"), taken.append, lambda up: None)
        linked(broker)  # it looks well
        shop.client("reader:door.1").publish("readers/door.1/reads", b"swallowed")  # acknowledged
        shop.client("clerk:marco").publish("clerks/marco/commands", b"a new subscription works")
        eventually(lambda: bool(taken), "the message by the other subscription")
        assert [each.topic for each in taken] == ["clerks/marco/commands"]
        broker.stop()
    finally:
        shop.close()


def damage(store: Path, pattern: str) -> None:
    """Flip bits in the middle of the files."""
    hit = [path for path in store.glob(f"**/{pattern}") if path.stat().st_size > 3]
    assert hit, "nothing to damage: has the store another layout?"
    for path in hit:
        body = bytearray(path.read_bytes())
        for index in range(len(body) // 3, min(len(body), len(body) // 3 + 40)):
            body[index] ^= 0x5A
        path.write_bytes(body)


def test_a_healthy_store_is_never_moved(shop: EmbeddedShop) -> None:
    with gateway_on(shop, shop.broker.set_store_aside, canary_seconds=2.0) as (broker, _):
        linked(broker)
        shop.restart()
        linked(broker)
        broker.publish(Message("floor/alerts", b"well")).result(SECONDS)
    assert shop.broker.moved_aside == ()


def test_the_ports_are_chosen_once_and_kept(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path, STORE)
    addresses = [first.start([])]
    first.stop()
    for _ in range(2):
        again = EmbeddedBroker(tmp_path, STORE)
        addresses.append(again.start([]))
        again.stop()
    assert len(set(addresses)) == 1
    assert 0 not in (addresses[0].mqtt_port, addresses[0].websocket_port)
    other = EmbeddedBroker(tmp_path / "other", STORE)
    assert other.start([]) != addresses[0]
    other.stop()


def test_a_kept_port_that_is_taken_is_named_and_not_changed(tmp_path: Path) -> None:
    first = EmbeddedBroker(tmp_path, STORE)
    address = first.start([])
    first.stop()
    with socket.create_server(("127.0.0.1", address.mqtt_port)):
        with pytest.raises(PeerError, match=str(address.mqtt_port)) as refused:
            EmbeddedBroker(tmp_path, STORE).start([])
        assert refused.value.reason == "broker-port-taken"
    again = EmbeddedBroker(tmp_path, STORE)
    assert again.start([]) == address
    again.stop()


def test_two_gateways_on_one_data_dir_are_refused(shop: EmbeddedShop) -> None:
    second = EmbeddedBroker(shop.directory, STORE)
    with pytest.raises(PeerError) as refused:
        second.start([])
    assert refused.value.reason == "broker-already-running"
    with gateway_on(shop) as (broker, _):
        linked(broker)  # the first one has not noticed
    shop.broker.stop()
    third = EmbeddedBroker(shop.directory, STORE, port=shop.port)  # the control: now it may
    third.start([])
    third.stop()


def test_the_server_dies_with_a_gateway_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, threading; from pathlib import Path; from gateway.shell.embedded import EmbeddedBroker\n"
        f"broker = EmbeddedBroker(Path({str(tmp_path)!r}), {STORE!r})\n"
        "starter = threading.Thread(target=broker.start, args=([],)); starter.start(); starter.join()\n"
        "print(broker.pid, flush=True); sys.stdin.read()\n"
    )
    gateway = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert gateway.stdout is not None
    assert gateway.stdin is not None
    server = int(gateway.stdout.readline())
    assert alive(server)  # though the thread that called `start` has ended
    gateway.send_signal(signal.SIGKILL)
    gateway.wait()
    gateway.stdout.close()
    gateway.stdin.close()
    eventually(lambda: not alive(server), "the server's end")
    heir = EmbeddedBroker(tmp_path, STORE)
    heir.start([])
    heir.stop()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def test_a_fresh_token_works_after_a_reload_and_a_replaced_one_no_longer(shop: EmbeddedShop) -> None:
    reader = shop.client("reader:door.1")
    late = shop.access.issue(Scope.parse("reader:late"), None, AT)
    assert Device(shop.port, "reader/late", late.token).refused
    newer = shop.access.issue(Scope.parse("clerk:marco"), None, AT)
    shop.users_changed()
    with contextmanager(_closing)(Device(shop.port, "reader/late", late.token)) as device:
        assert not device.refused
        device.publish(PREFIX + "readers/late/reads", b"hello")
    assert Device(shop.port, "clerk/marco", shop.tokens["clerk:marco"].token).refused
    with contextmanager(_closing)(Device(shop.port, "clerk/marco", newer.token)) as device:
        assert not device.refused
    reader.publish("readers/door.1/reads", b"undisturbed")


def _closing(device: Device) -> Iterator[Device]:
    yield device
    device.close()


def test_an_expired_token_stops_on_mqtt_at_its_expiry(shop: EmbeddedShop) -> None:
    ends = AT + timedelta(hours=1)
    brief = shop.access.issue(Scope.parse("reader:guest"), ends, AT)
    shop.users_changed()
    guest = Device(shop.port, "reader/guest", brief.token)
    assert not guest.refused
    due = shop.access.next_expiry(AT)
    assert due == ends
    shop.broker.reload(shop.access.mqtt_users(due))
    assert guest.lost.wait(SECONDS)
    assert Device(shop.port, "reader/guest", brief.token).refused


def test_a_reload_while_the_server_is_down_counts_at_its_start(shop: EmbeddedShop) -> None:
    shop.access.revoke(shop.tokens["clerk:marco"].id)
    assert shop.broker.pid is not None
    os.kill(shop.broker.pid, signal.SIGKILL)
    shop.users_changed()
    eventually(lambda: shop.broker.restarts == 1 and shop.broker.serving, "the server's restart")
    assert Device(shop.port, "clerk/marco", shop.tokens["clerk:marco"].token).refused
    anna = shop.client("clerk:anna")
    assert anna.subscribe("clerks/anna/alerts")


def test_reloads_from_many_threads_all_count(shop: EmbeddedShop) -> None:
    issued = [shop.access.issue(Scope.parse(f"reader:r{number}"), None, AT) for number in range(6)]
    threads = [threading.Thread(target=shop.users_changed) for _ in issued]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, token in enumerate(issued):
        with contextmanager(_closing)(Device(shop.port, f"reader/r{number}", token.token)) as device:
            assert not device.refused


def test_the_store_is_limited(shop: EmbeddedShop) -> None:
    (meta,) = (shop.directory / "broker" / "js").glob("**/streams/$MQTT_msgs/meta.inf")
    kept = json.loads(meta.read_text())
    assert {key: kept[key] for key in nats_wire.LIMITS} == nats_wire.LIMITS


def test_files_are_private_and_the_configuration_holds_no_token(shop: EmbeddedShop) -> None:
    login = shop.login()
    home = shop.directory / "broker"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("nats.conf", "ports.json", "clients.json", "nats.log", "lock"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name
    secrets = [login.password, *(issued.token for issued in shop.tokens.values())]
    for name in ("nats.conf", "nats.log"):
        assert not any(secret in (home / name).read_text() for secret in secrets)
    assert login.password not in repr(login)


def test_the_gateways_client_ids_are_secret_and_kept(tmp_path: Path) -> None:
    ids = EmbeddedBroker(tmp_path, STORE).gateway_login().client_ids
    assert EmbeddedBroker(tmp_path, STORE).gateway_login().client_ids == ids
    other = EmbeddedBroker(tmp_path / "other", STORE).gateway_login().client_ids
    assert len({ids.ingest, ids.alerts, other.ingest, other.alerts}) == 4
    assert len(ids.ingest) >= 32


def test_a_broken_configuration_is_named(tmp_path: Path) -> None:
    config = tmp_path / "broken.conf"
    config.write_text("mqtt { port: wrong }")
    with pytest.raises(PeerError, match="broker-config-invalid"):
        check_config(find_server(), config)


def test_the_gateway_is_told_why_it_may_not_enter(shop: EmbeddedShop) -> None:
    wrong = MqttBroker(
        f"mqtt://127.0.0.1:{shop.port}",
        EmbeddedBroker(shop.directory, STORE).gateway_login(),  # another run's password
        STORE,
        online=ONLINE,
        offline=OFFLINE,
    )
    wrong.start(("readers/+/reads",), lambda delivery: None, lambda up: None)
    eventually(lambda: wrong.last_error is not None, "the reason")
    assert wrong.last_error is not None
    assert wrong.last_error.reason == "broker-refused"
    wrong.stop()
