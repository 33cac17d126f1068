"""Simulated NFC cards: each answers the frames that a real one would, or misbehaves in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import ndef

NTAG213_VERSION = bytes.fromhex("0004040201000F03")
NDEF_AID = bytes.fromhex("D2760000850101")
CAPABILITY = bytes.fromhex("000F20003A00340406E1047FFF0000")
CAPABILITY_FILE, NDEF_FILE = b"\xe1\x03", b"\xe1\x04"
OK, NOT_FOUND, UNSUPPORTED = b"\x90\x00", b"\x6a\x82", b"\x6d\x00"


def uri_message(uri: str) -> bytes:
    """An NDEF message with one URI record."""
    return b"".join(ndef.message_encoder([ndef.UriRecord(uri)]))


class Card(Protocol):
    """What a simulated reader needs of a card. `asleep` cards answer no request until the field resets."""

    uid: bytes
    sens_res: bytes
    sel_res: bytes
    asleep: bool

    def reset(self) -> None: ...
    def command(self, frame: bytes) -> bytes | None: ...


class Type2:
    """NTAG21x: pages of four octets. `pages_left` counts READs until the card is pulled away."""

    sens_res, sel_res = b"\x44\x00", b"\x00"

    def __init__(self, uid: bytes, memory: bytes, version: bytes = NTAG213_VERSION) -> None:
        self.uid = uid
        self.memory = memory
        self.version = version
        self.asleep = self._mute = False
        self.pages_left = -1

    def reset(self) -> None:
        self.asleep = self._mute = False

    def command(self, frame: bytes) -> bytes | None:
        if self.asleep or self._mute or self.pages_left == 0:
            return None
        if frame == b"\x50\x00":
            self.asleep = True
            return None
        if frame[0] == 0x60:
            return self.version
        if frame[0] == 0x30 and frame[1] * 4 < len(self.memory):
            self.pages_left -= 1
            start = frame[1] * 4
            return (self.memory * 2)[start : start + 16]
        self._mute = True  # as the chip: an unknown command is not answered, nor is anything after it
        return b"\x00" if frame[0] == 0x30 else None

    @classmethod
    def with_message(cls, uid: bytes, message: bytes) -> Type2:
        """An NTAG213 that holds an NDEF message."""
        assert len(uid) == 7
        assert len(message) < 140
        head = uid[:3] + bytes([0x88 ^ uid[0] ^ uid[1] ^ uid[2]]) + uid[3:]
        head += bytes([uid[3] ^ uid[4] ^ uid[5] ^ uid[6], 0x48, 0, 0]) + b"\xe1\x10\x12\x00"
        memory = head + b"\x03" + bytes([len(message)]) + message + b"\xfe"
        return cls(uid, memory.ljust(180, b"\0"))

    @classmethod
    def from_flipper(cls, path: Path) -> Type2:
        """A card from a dump in the Flipper's text format."""
        fields = dict(
            line.split(": ", 1) for line in path.read_text().splitlines() if ": " in line and line[0] != "#"
        )
        pages = (fields[f"Page {n}"] for n in range(int(fields["Pages total"])))
        memory = bytes.fromhex("".join(pages))
        # a dump that was edited by hand may state another UID than its pages: the chip answers with the latter
        uid = memory[0:3] + memory[4:8]
        return cls(uid, memory, bytes.fromhex(fields["Mifare version"]))


class Type4:
    """ISO-DEP around a function from command APDU to response APDU."""

    sens_res, sel_res = b"\x44\x03", b"\x20"

    def __init__(
        self, uid: bytes, apdu: Callable[[bytes], bytes], ats: bytes = b"\x06\x77\x77\x71\x02\x80"
    ) -> None:
        self.uid = uid
        self.apdu = apdu
        self.ats = ats
        self.asleep = False

    def reset(self) -> None:
        self.asleep = False

    def command(self, frame: bytes) -> bytes | None:
        if self.asleep:
            return None
        if frame[0] == 0xE0:
            return self.ats
        if frame[0] & 0xE2 == 0x02:
            return bytes([frame[0] & 0x03]) + self.apdu(frame[1:])
        if frame[0] & 0xF6 == 0xB2:
            return bytes([0xA2 | (frame[0] & 1)])
        if frame == b"\xc2":
            self.asleep = True
            return b"\xc2"
        return None


class Silent(Type2):
    """A card that is found and then says nothing, e.g. MIFARE Classic, which wants its key first."""

    sel_res = b"\x08"

    def __init__(self, uid: bytes) -> None:
        super().__init__(uid, b"")

    def command(self, frame: bytes) -> bytes | None:
        self.asleep = self.asleep or frame == b"\x50\x00"
        return None


class Raising(Type4):
    """Makes the driver raise at the first block, as broken links and driver bugs do."""

    def __init__(self, uid: bytes, error: Exception) -> None:
        super().__init__(uid, lambda _: OK)
        self._error = error

    def command(self, frame: bytes) -> bytes | None:
        if frame[0] & 0xE2 == 0x02:
            raise self._error
        return super().command(frame)


class EndlessWaiting(Type4):
    """Asks for more time for ever: S(WTX) to every block."""

    def __init__(self, uid: bytes) -> None:
        super().__init__(uid, lambda _: OK)

    def command(self, frame: bytes) -> bytes | None:
        return b"\xf2\x01" if frame[0] & 0xE2 == 0x02 or frame[0] == 0xF2 else super().command(frame)


def ndef_application(
    message: bytes, *, claimed: int | None = None, empty_reads: bool = False, capability: bytes = CAPABILITY
) -> Callable[[bytes], bytes]:
    """The NFC Forum's Type 4 application. `claimed` is an NLEN other than the message's length;
    `empty_reads` answers READ BINARY of the message with no octets."""
    files = {
        CAPABILITY_FILE: capability,
        NDEF_FILE: (len(message) if claimed is None else claimed).to_bytes(2, "big") + message,
    }
    selected = CAPABILITY_FILE

    def answer(apdu: bytes) -> bytes:
        nonlocal selected
        if apdu[:4] == b"\x00\xa4\x04\x00":
            return OK if apdu[5:12] == NDEF_AID else NOT_FOUND
        if apdu[:2] == b"\x00\xa4":
            selected = apdu[5:7]
            return OK if selected in files else NOT_FOUND
        if apdu[:2] == b"\x00\xb0":
            start, length = int.from_bytes(apdu[2:4], "big"), apdu[4]
            if empty_reads and selected == NDEF_FILE and start >= 2:
                return OK
            return files[selected][start : start + length] + OK
        return UNSUPPORTED

    return answer
