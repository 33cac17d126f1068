"""A scanner that pretends to be a keyboard (HID). It is grabbed, so that its keys reach nobody else."""

from __future__ import annotations

import errno
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Protocol

from devices.options import Option, between, one_of, values
from devices.reader import Deliver
from devices.readers.keyboard import LAYOUTS, Keys
from devices.reads import Repeats, mint
from gateway.core.errors import ReaderError
from gateway.core.model import Technology

OPTIONS = {
    "path": Option(str, help="the device, e.g. /dev/input/by-id/…-event-kbd"),
    "layout": Option(str, "us", help="the layout the scanner is set to", problem=one_of(*LAYOUTS)),
    "max_length": Option(int, 2048, help="characters", problem=between(1, 65_536)),
    "gap_seconds": Option(float, 0.25, help="longest pause between two keys", problem=between(0.01, 10)),
}

_POLL = 0.05  # seconds
_EV_SYN, _EV_KEY, _SYN_DROPPED = 0, 1, 3


class InputEvent(Protocol):
    """An event as evdev gives it."""

    type: int
    code: int
    value: int

    def timestamp(self) -> float: ...


class Keyboard(Protocol):
    """What we need of `evdev.InputDevice`."""

    def fileno(self) -> int: ...
    def read(self) -> Iterable[InputEvent]: ...
    def grab(self) -> None: ...
    def close(self) -> None: ...


def open_keyboard(path: str) -> Keyboard:
    """The kernel's input device at `path`. Raises OSError."""
    import evdev

    device: Keyboard = evdev.InputDevice(path)
    return device


def build(settings: Mapping[str, object]) -> WedgeReader:
    """A reader from its `[[readers]]` table."""
    chosen = values(OPTIONS, settings)
    return WedgeReader(
        str(settings["id"]),
        chosen["path"],
        layout=chosen["layout"],
        max_length=chosen["max_length"],
        gap_seconds=chosen["gap_seconds"],
    )


class WedgeReader:
    """See the module. `opener` opens the device; tests give it a pipe."""

    def __init__(
        self,
        reader_id: str,
        path: str,
        *,
        layout: str = "us",
        max_length: int = 2048,
        gap_seconds: float = 0.25,
        opener: Callable[[str], Keyboard] = open_keyboard,
    ) -> None:
        self._id = reader_id
        self._path = path
        self._keys = partial(Keys, layout, max_length, gap_seconds)
        self._open = opener

    @property
    def id(self) -> str:
        return self._id

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Read keys until stopped.

        Raises:
            ReaderError: wedge-lost; the device cannot be opened or grabbed, or went away (ENODEV).
        """
        try:
            device = self._open(self._path)
            try:
                device.grab()
                ready()
                self._read(device, deliver, stop)
            finally:
                device.close()
        except OSError as error:
            detail = f"The scanner is gone, cannot be opened, or another program has it: {error}."
            raise ReaderError("wedge-lost", detail) from error

    def _read(self, device: Keyboard, deliver: Deliver, stop: threading.Event) -> None:
        keys, repeats = self._keys(), Repeats()
        while not stop.is_set():
            waiting, _, _ = select.select([device], [], [], _POLL)
            now = time.monotonic()
            found: list[dict[str, object]] = [] if waiting else keys.silence(now)
            for event in _events(device) if waiting else ():
                if event.type == _EV_KEY:
                    found += keys.press(event.code, event.value, event.timestamp(), now)
                elif event.type == _EV_SYN and event.code == _SYN_DROPPED:
                    keys.dropped(now)
            for fields in found:
                if not repeats.seen(fields, now):
                    deliver(mint(self._id, Technology.QR, fields))


def _events(device: Keyboard) -> list[InputEvent]:
    try:
        events = list(device.read())
    except BlockingIOError:
        return []
    if not events:  # readable and nothing to read: the end of a descriptor whose device has gone
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return events
