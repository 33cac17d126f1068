"""Simulated NFC readers for the real nfcpy: a device in this process, and cards behind its udp driver."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterator

import nfc.clf
import nfc.clf.device

from tests.rigs.cards import Card


class FakeDevice(nfc.clf.device.Device):  # type: ignore[misc]  # nfcpy has no types
    """A reader with `cards` in its field; the first one that is awake answers. `dead` is the cable pulled."""

    def __init__(self) -> None:
        self._path, self._device_name, self._chipset_name = "fake", "Fake reader", "FAKE"
        self.cards: list[Card] = []
        self.dead = self.closed = self.lit = False
        self.frames = self.polls = 0
        self._selected: Card | None = None

    def _check(self) -> None:
        if self.dead:
            raise OSError(errno.ENODEV, "unplugged")

    def close(self) -> None:
        self.closed = True

    def mute(self) -> None:
        self._check()
        self.polls += 1
        for card in list(self.cards):
            card.reset()

    def sense_tta(self, target: nfc.clf.RemoteTarget) -> nfc.clf.RemoteTarget | None:
        self._check()
        wanted = bytes(target.sel_req) if target.sel_req else None
        for card in list(self.cards):
            if not card.asleep and wanted in (None, card.uid):
                self._selected = card
                return nfc.clf.RemoteTarget(
                    "106A",
                    sens_res=bytearray(card.sens_res),
                    sdd_res=bytearray(card.uid),
                    sel_res=bytearray(card.sel_res),
                )
        return None

    def send_cmd_recv_rsp(self, target: object, data: bytes, timeout: float) -> bytearray:
        self._check()
        self.frames += 1
        present = self._selected if self._selected in self.cards else None
        answer = present.command(bytes(data)) if present else None
        if answer is None:
            raise nfc.clf.TimeoutError("no answer")
        return bytearray(answer)

    def get_max_send_data_size(self, target: object) -> int:
        return 290

    def get_max_recv_data_size(self, target: object) -> int:
        return 290

    def turn_on_led_and_buzzer(self) -> None:
        self.lit = True

    def turn_off_led_and_buzzer(self) -> None:
        self.lit = False


@contextlib.contextmanager
def udp_field(cards: list[Card]) -> Iterator[int]:
    """Cards behind nfcpy's udp driver, on the loopback port that is yielded. An empty field says so at once
    (RFOFF), where a real one is silent until the driver's second is over."""
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as field:
        field.bind(("127.0.0.1", 0))
        field.settimeout(0.05)
        thread = threading.Thread(target=_serve, args=(field, cards, stop), name="udp-field")
        thread.start()
        try:
            yield field.getsockname()[1]
        finally:
            stop.set()
            thread.join()


def _serve(field: socket.socket, cards: list[Card], stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            datagram, sender = field.recvfrom(1024)
        except TimeoutError:
            continue
        kind, _, frame = datagram.partition(b" ")
        if kind == b"RFOFF":
            for card in list(cards):
                card.reset()
            continue
        answer = _answer(list(cards), bytes.fromhex(frame.decode()))
        if answer is not None:
            field.sendto(b"106A " + answer.hex().encode(), sender)
        elif frame == b"26":
            field.sendto(b"RFOFF", sender)


def _answer(cards: list[Card], frame: bytes) -> bytes | None:
    awake = [card for card in cards if not card.asleep]
    if not awake:
        return None
    card = awake[0]
    uid, several_levels = card.uid, len(card.uid) > 4
    match frame[:2]:
        case b"\x26":
            return card.sens_res
        case b"\x93\x20":
            return _checked(b"\x88" + uid[:3] if several_levels else uid)
        case b"\x93\x70":
            return b"\x04" if several_levels else card.sel_res
        case b"\x95\x20":
            return _checked(uid[3:])
        case b"\x95\x70":
            return card.sel_res
        case _:
            return card.command(frame)


def _checked(level: bytes) -> bytes:
    return level + bytes([level[0] ^ level[1] ^ level[2] ^ level[3]])
