"""A bare MQTT 3.1.1 client for the load, so that the measuring side costs little and the same for everybody.

One thread drives two sockets: the reader that publishes and the clerk's tablet that subscribes. An alert counts
when it has arrived at the tablet; each is acknowledged (QoS 1).
"""

from __future__ import annotations

import gc
import select
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_CONNECT, _PUBLISH_QOS1, _PUBACK, _SUBSCRIBE = 0x10, 0x32, 0x40, 0x82
_MARK = b'"visit":"'


@dataclass(frozen=True, slots=True)
class Login:
    """Who enters the broker."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class Shot:
    """A read's payload, and the visit id that its alert will carry."""

    payload: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds from publish to alert, in order of arrival; how long all took; how many never came."""

    seconds: list[float]
    elapsed: float
    missing: int


class Client:
    """Connected when made."""

    def __init__(self, port: int, login: Login, client_id: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = _text("MQTT") + bytes((4, 0xC2)) + struct.pack(">H", 0)
        self.sock.sendall(
            _packet(_CONNECT, head + _text(client_id) + _text(login.username) + _text(login.password))
        )
        self._rest = b""
        answer = self._read_one()
        if answer != (0x20, b"\x00\x00"):
            raise ConnectionError(f"the broker refused {login.username}: {answer!r}")

    def subscribe(self, topic: str) -> None:
        """At QoS 1; raises when the broker says no."""
        self.sock.sendall(_packet(_SUBSCRIBE, b"\x00\x01" + _text(topic) + b"\x01"))
        answer = self._read_one()
        if answer[0] != 0x90 or answer[1][-1] == 0x80:
            raise ConnectionError(f"the broker forbids {topic}")

    def receive(self) -> list[tuple[int, bytes]]:
        """What has come in: first byte and body of each packet. Call it when the socket is readable."""
        octets = self.sock.recv(1 << 18)
        if not octets:
            raise ConnectionError("the broker has hung up")
        return list(self._split(self._rest + octets))

    def close(self) -> None:
        """Without a farewell."""
        self.sock.close()

    def _read_one(self) -> tuple[int, bytes]:
        while True:
            for packet in self.receive():
                return packet

    def _split(self, buffer: bytes) -> Iterator[tuple[int, bytes]]:
        at = 0
        while (found := _frame(buffer, at)) is not None:
            begin, end = found
            yield buffer[at], buffer[begin:end]
            at = end
        self._rest = buffer[at:]


class Load:
    """The reader and the tablet."""

    def __init__(self, port: int, reader: Login, tablet: Login, reads: str, alerts: str) -> None:
        self._reader = Client(port, reader, "bench-reader")
        self._tablet = Client(port, tablet, "bench-tablet")
        self._tablet.subscribe(alerts)
        self._topic = _text(reads)
        self._mid = 0

    def paced(self, shots: Sequence[Shot], rate: float, patience: float = 20.0) -> Heard:
        """One read every 1/rate seconds, whatever comes back."""
        return self._run(shots, 1.0 / rate, len(shots), patience)

    def flooded(self, shots: Sequence[Shot], window: int = 500, patience: float = 20.0) -> Heard:
        """As fast as possible with at most `window` reads that have not been answered by their alert."""
        return self._run(shots, 0.0, window, patience)

    def close(self) -> None:
        """Disconnect both."""
        self._reader.close()
        self._tablet.close()

    def _run(self, shots: Sequence[Shot], every: float, window: int, patience: float) -> Heard:
        gc.disable()
        try:
            return self._drive(shots, every, window, patience)
        finally:
            gc.enable()

    def _drive(self, shots: Sequence[Shot], every: float, window: int, patience: float) -> Heard:
        clock, sent_at, seconds = time.perf_counter, dict[bytes, float](), list[float]()
        sockets = [self._reader.sock, self._tablet.sock]
        begin = last = clock()
        following = 0
        while len(seconds) < len(shots):
            now = clock()
            due = following < len(shots) and len(sent_at) < window
            if due and now >= begin + following * every:
                shot = shots[following]
                sent_at[shot.key] = clock()
                self._reader.sock.sendall(self._publish(shot.payload))
                following += 1
                if every:
                    continue
            wait = max(0.0, begin + following * every - now) if due else 0.5
            ready, _, _ = select.select(sockets, [], [], wait)
            if self._reader.sock in ready:
                self._reader.receive()  # PUBACKs
            if self._tablet.sock in ready:
                last = self._hear(sent_at, seconds) or last
            if following == len(shots) and clock() - max(last, begin) > patience:
                break
        return Heard(seconds, last - begin, len(shots) - len(seconds))

    def _hear(self, sent_at: dict[bytes, float], seconds: list[float]) -> float | None:
        acks, heard = bytearray(), None
        packets = self._tablet.receive()
        now = time.perf_counter()
        for first, body in packets:
            if first & 0xF0 != 0x30:
                continue
            (length,) = struct.unpack_from(">H", body)
            acks += bytes((_PUBACK, 2)) + body[2 + length : 4 + length]
            begin = body.index(_MARK) + len(_MARK)
            if (sent := sent_at.pop(body[begin : body.index(b'"', begin)], None)) is not None:
                seconds.append(now - sent)
                heard = now
        self._tablet.sock.sendall(acks)
        return heard

    def _publish(self, payload: bytes) -> bytes:
        self._mid = self._mid % 65_535 + 1
        return _packet(_PUBLISH_QOS1, self._topic + struct.pack(">H", self._mid) + payload)


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def _packet(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (0x80 if size else 0))
        if not size:
            return bytes((first,)) + bytes(length) + body


def _frame(buffer: bytes, at: int) -> tuple[int, int] | None:
    """Where the body of the packet at `at` begins and ends; None when it has not all come yet."""
    length = shift = 0
    for place in range(at + 1, min(at + 5, len(buffer))):
        length |= (buffer[place] & 0x7F) << shift
        shift += 7
        if buffer[place] < 0x80:
            end = place + 1 + length
            return (place + 1, end) if end <= len(buffer) else None
    return None
