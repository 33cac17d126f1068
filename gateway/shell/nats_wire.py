"""The few bytes of MQTT and of NATS's text protocol that the supervisor itself must speak.

`enter` makes one MQTT connection, because nats-server creates its message store at the first one.
`limit_store` then caps that store: full, it would lock every client out.
"""

from __future__ import annotations

import json
import secrets
import socket
from typing import Any

from gateway.core.errors import PeerError
from gateway.shell.permissions import ADMIN, JS_API, MQTT_STREAM

SECONDS = 10.0
LIMITS = {
    "max_bytes": 800 * 1024 * 1024,
    "discard": "new",
    "max_age": 7 * 86_400 * 10**9,
}  # age in nanoseconds


def enter(host: str, port: int, username: str, password: str) -> None:
    """Connect over MQTT with a throw-away client id, and leave.

    Raises:
        PeerError: `broker-unreachable`, `broker-refused`.
    """
    try:
        with socket.create_connection((host, port), SECONDS) as sock:
            sock.sendall(_connect_packet(f"probe-{secrets.token_hex(8)}", username, password))
            answer = _exactly(sock, 4)
            if answer[3] != 0:
                raise PeerError(
                    "broker-refused", f"The embedded broker refused its own gateway ({answer[3]})."
                )
            sock.sendall(b"\xe0\x00")
    except OSError:
        raise PeerError("broker-unreachable", "The embedded broker does not answer over MQTT.") from None


def limit_store(port: int, password: str) -> None:
    """Set `LIMITS` on the broker's message store, unless they are set already.

    Raises:
        PeerError: `broker-unreachable`, `broker-refused`.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
            config = _request(sock, password, f"{JS_API}.INFO.{MQTT_STREAM}", b"")["config"]
            if any(config.get(key) != value for key, value in LIMITS.items()):
                wanted = json.dumps({**config, **LIMITS}).encode()
                _request(sock, password, f"{JS_API}.UPDATE.{MQTT_STREAM}", wanted)
    except (OSError, ValueError, KeyError):
        raise PeerError("broker-unreachable", "The embedded broker's store does not answer.") from None


def _request(sock: socket.socket, password: str, subject: str, body: bytes) -> dict[str, Any]:
    """One request to JetStream's API. CONNECT may be repeated on a connection: it is the same user again."""
    inbox = f"_INBOX.{secrets.token_hex(8)}"
    login = json.dumps(
        {"user": ADMIN, "pass": password, "verbose": False, "pedantic": False, "lang": "soglia"}
    )
    head = f"CONNECT {login}\r\nSUB {inbox} 1\r\nPUB {subject} {inbox} {len(body)}\r\n"
    sock.sendall(head.encode() + body + b"\r\n")
    while True:
        line = _line(sock)
        if line.startswith(b"MSG "):
            size = int(line.split()[-1])
            answer: dict[str, Any] = json.loads(_exactly(sock, size + 2))
            if "error" in answer:
                raise PeerError("broker-refused", f"The embedded broker's store says: {answer['error']}.")
            return answer
        if line.startswith(b"-ERR"):
            raise PeerError("broker-refused", f"The embedded broker says: {line.decode(errors='replace')}.")
        if line == b"PING":
            sock.sendall(b"PONG\r\n")


def _line(sock: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\r\n"):
        line += _exactly(sock, 1)
    return line[:-2]


def _exactly(sock: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        more = sock.recv(count - len(taken))
        if not more:
            raise ConnectionResetError
        taken += more
    return taken


def _connect_packet(client_id: str, username: str, password: str) -> bytes:
    fields = [b"MQTT", b"", client_id.encode(), username.encode(), password.encode()]
    name, _, *payload = [len(field).to_bytes(2, "big") + field for field in fields]
    body = name + b"\x04\xc2" + (30).to_bytes(2, "big") + b"".join(payload)  # 3.1.1; login; clean session
    return bytes([0x10, *_remaining_length(len(body))]) + body


def _remaining_length(size: int) -> bytes:
    low, high = size % 128, size // 128
    return bytes([low]) if high == 0 else bytes([low | 0x80, high])
