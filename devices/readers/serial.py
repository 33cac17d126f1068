"""A scanner on a serial line (or a USB one that pretends to be): one code a line.

Wallet-pass readers that emit the pass over serial (9600 8N1, prefix and suffix to taste) are read the same.
"""

from __future__ import annotations

import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from devices.options import Option, between, one_of, values
from devices.reader import Deliver
from devices.reads import Repeats, fault, mint, scanned
from gateway.core.errors import ReaderError
from gateway.core.model import Technology

OPTIONS = {
    "path": Option(str, help="the device, e.g. /dev/serial/by-id/…"),
    "baud": Option(int, 9600, problem=between(300, 4_000_000)),
    "prefix": Option(str, "", help="what the scanner sends before every code; taken off"),
    "suffix": Option(str, "", help="what ends a code; empty: CR, LF or both"),
    "encoding": Option(str, "utf-8", problem=one_of("ascii", "utf-8", "latin-1")),
    "max_length": Option(int, 2048, help="octets", problem=between(1, 65_536)),
    "line_seconds": Option(
        float, 0.5, help="silence that ends a line without suffix", problem=between(0.05, 10)
    ),
}

_POLL = 0.05  # seconds


def build(settings: Mapping[str, object]) -> SerialReader:
    """A reader from its `[[readers]]` table."""
    chosen = values(OPTIONS, settings)
    framing = Framing(
        prefix=chosen["prefix"].encode(),
        suffix=chosen["suffix"].encode(),
        encoding=chosen["encoding"],
        max_length=chosen["max_length"],
        line_seconds=chosen["line_seconds"],
    )
    return SerialReader(str(settings["id"]), chosen["path"], chosen["baud"], framing)


@dataclass(frozen=True, slots=True)
class Framing:
    """How the scanner delimits its codes. Lengths in octets, times in seconds."""

    prefix: bytes = b""
    suffix: bytes = b""
    encoding: str = "utf-8"
    max_length: int = 2048
    line_seconds: float = 0.5


class Lines:
    """Octets in, reads' fields out. Pure: `now` is a monotonic second."""

    def __init__(self, framing: Framing) -> None:
        self._framing = framing
        self._buffer = bytearray()
        self._overlong = False
        self._heard = 0.0

    def feed(self, octets: bytes, now: float) -> list[dict[str, object]]:
        """Take what came; the lines that are now complete, good and bad."""
        found = self.silence(now)
        self._heard = now
        self._buffer += octets
        while (cut := self._end()) is not None:
            line, self._buffer = bytes(self._buffer[: cut[0]]), self._buffer[cut[1] :]
            found += self._line(line)
        if len(self._buffer) > self._framing.max_length + len(self._framing.prefix):
            self._overlong = True
            # the start of a suffix may be at the very end
            del self._buffer[: len(self._buffer) - max(len(self._framing.suffix) - 1, 0)]
        return found

    def silence(self, now: float) -> list[dict[str, object]]:
        """What is to be said when nothing came until `now`: a line that was never finished."""
        unfinished = bool(self._buffer) or self._overlong
        if not unfinished or now - self._heard < self._framing.line_seconds:
            return []
        slug = "serial-over-length" if self._overlong else "serial-no-terminator"
        self._buffer, self._overlong = bytearray(), False
        return [fault(slug)]

    def _end(self) -> tuple[int, int] | None:
        """Where the first line ends and where the next begins."""
        if suffix := self._framing.suffix:
            at = self._buffer.find(suffix)
            return None if at < 0 else (at, at + len(suffix))
        ends = [at for at in (self._buffer.find(b"\r"), self._buffer.find(b"\n")) if at >= 0]
        return (min(ends), min(ends) + 1) if ends else None

    def _line(self, line: bytes) -> list[dict[str, object]]:
        framing, overlong, self._overlong = self._framing, self._overlong, False
        if overlong or len(line) > framing.max_length + len(framing.prefix):
            return [fault("serial-over-length")]
        if not line:  # the LF after a CR
            return []
        if not line.startswith(framing.prefix):
            return [fault("serial-no-prefix")]
        if b"\x00" in line:
            return [fault("serial-nul")]
        try:
            return [scanned(line[len(framing.prefix) :].decode(framing.encoding))]
        except UnicodeDecodeError:
            return [fault("serial-encoding")]


class SerialReader:
    """See the module."""

    def __init__(self, reader_id: str, path: str, baud: int = 9600, framing: Framing | None = None) -> None:
        self._id = reader_id
        self._path = path
        self._baud = baud
        self._framing = framing or Framing()

    @property
    def id(self) -> str:
        return self._id

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Read lines until stopped.

        Raises:
            ReaderError: serial-lost; the port cannot be opened, or went away.
        """
        import serial

        lines, repeats = Lines(self._framing), Repeats()
        try:
            with serial.Serial(self._path, self._baud, timeout=_POLL, exclusive=True) as port:
                ready()
                while not stop.is_set():
                    octets = port.read(port.in_waiting or 1)
                    now = time.monotonic()
                    for fields in lines.feed(octets, now) if octets else lines.silence(now):
                        if not repeats.seen(fields, now):
                            deliver(mint(self._id, Technology.QR, fields))
        except (OSError, ValueError, termios.error) as error:  # SerialException is an OSError
            raise ReaderError(
                "serial-lost", f"The serial port is gone or cannot be opened: {error}."
            ) from error
