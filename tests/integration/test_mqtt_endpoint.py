"""Where the broker is: urls, and TLS against a real Mosquitto."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.core.errors import PeerError
from gateway.shell.broker import Delivery, Message
from gateway.shell.endpoint import Endpoint
from gateway.shell.logins import Login, LoginError, client_ids
from gateway.shell.mqtt import MqttBroker
from tests.rigs.device import eventually
from tests.rigs.mosquitto import mosquitto, needs_mosquitto


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("mqtt://broker", "broker", 1883),
        ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
        ("mqtt://[::1]:1884/", "::1", 1884),
        ("mqtts://broker.store", "broker.store", 8883),
    ],
)
def test_urls(url: str, host: str, port: int) -> None:
    endpoint = Endpoint.parse(url)
    assert (endpoint.host, endpoint.port) == (host, port)
    assert (endpoint.tls is not None) == url.startswith("mqtts")


@pytest.mark.parametrize(
    "url",
    ["", "broker", "http://broker", "mqtt://", "mqtt://user:word@broker", "mqtt://b:99999", "mqtt://b/x"],
)
def test_what_is_no_url_of_a_broker(url: str) -> None:
    with pytest.raises(PeerError, match="broker-url-invalid") as refused:
        Endpoint.parse(url)
    assert "word" not in str(refused.value)


def test_a_ca_file_that_holds_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "missing.pem"):
        with pytest.raises(PeerError, match="broker-ca-unreadable"):
            Endpoint.parse("mqtts://broker", tmp_path / name)


def test_client_ids_that_cannot_be_read_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "clients.json"
    path.write_text('{"ingest": ')
    with pytest.raises(LoginError, match="client-ids-unreadable"):
        client_ids(path)
    assert path.read_text() == '{"ingest": '


def certificate(directory: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@contextmanager
def broker_over_tls(port: int, ca_file: Path, directory: Path) -> Iterator[tuple[MqttBroker, list[Delivery]]]:
    login = Login("gateway", "a password", client_ids(directory / "clients.json"))
    taken: list[Delivery] = []

    def take(delivery: Delivery) -> None:
        taken.append(delivery)
        delivery.ack()

    broker = MqttBroker(
        f"mqtts://127.0.0.1:{port}", login, "s", online=b"on", offline=b"off", ca_file=ca_file
    )
    broker.start(("readers/+/reads", "floor/alerts"), take, lambda up: None)
    try:
        yield broker, taken
    finally:
        broker.stop()


@needs_mosquitto
@pytest.mark.mosquitto
def test_tls_with_the_stores_own_authority(tmp_path: Path) -> None:
    served, other = certificate(tmp_path, "broker"), certificate(tmp_path, "stranger")
    extra = f"certfile {served}\nkeyfile {served.with_suffix('.key')}"
    with mosquitto(tmp_path / "m", {"gateway": "a password"}, extra=extra) as server:
        with broker_over_tls(server.port, served, tmp_path) as (broker, taken):
            eventually(lambda: broker.connected, "the link over TLS")
            futures = [broker.publish(Message("floor/alerts", b"%d" % number)) for number in range(500)]
            for future in futures:
                future.result(20)
            eventually(lambda: len(taken) == 500, "all of them back")
            assert [each.payload for each in taken] == [b"%d" % number for number in range(500)]
        with broker_over_tls(server.port, other, tmp_path) as (stranger, _):  # the control
            eventually(lambda: stranger.last_error is not None, "the refusal")
            assert stranger.last_error is not None
            assert stranger.last_error.reason == "broker-unreachable"
            assert not stranger.connected
