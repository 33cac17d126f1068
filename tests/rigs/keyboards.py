"""A HID scanner without hardware: a real `evdev.InputDevice` whose descriptor is a pipe's end."""

from __future__ import annotations

import os
import struct
import time

import evdev
from evdev import ecodes

from devices.readers.keyboard import characters

_EVENT = struct.Struct("llHHi")  # struct input_event on 64 bits, 24 octets: always write whole ones
_SHIFT, _ALTGR, _ENTER = ecodes.KEY_LEFTSHIFT, ecodes.KEY_RIGHTALT, ecodes.KEY_ENTER


class PipeDevice(evdev.InputDevice[str]):
    """`grab` is an ioctl that a pipe does not know, and closing is ours: no driver behind it."""

    def __init__(self, descriptor: int) -> None:
        self.fd = descriptor
        self.path = self.name = "fake"
        self.grabbed = False

    def grab(self) -> None:
        self.grabbed = True

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Scanner:
    """Types on the last device that `open` gave out. Once unplugged, `open` fails until it is plugged in."""

    def __init__(self, layout: str = "us", device: type[PipeDevice] = PipeDevice) -> None:
        self._device = device
        self._keys = {text: chord for chord, text in reversed(characters(layout).items())}
        self._writing = -1
        self._plugged = True

    def open(self, path: str) -> PipeDevice:
        if not self._plugged:
            raise OSError(2, "No such file or directory", path)
        reading, self._writing = os.pipe()
        os.set_blocking(reading, False)
        return self._device(reading)

    def write(self, events: bytes) -> None:
        """Raw events."""
        os.write(self._writing, events)

    def scan(self, text: str) -> None:
        """Type `text` and Enter."""
        self.write(self.typed(text) + stroke(_ENTER))

    def typed(self, text: str, at: float | None = None) -> bytes:
        """The events of typing `text`."""
        return b"".join(self._chord(character, at) for character in text)

    def unplug(self) -> None:
        self._plugged = False
        os.close(self._writing)
        self._writing = -1

    def replug(self) -> None:
        self._plugged = True

    def close(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)

    def _chord(self, character: str, at: float | None) -> bytes:
        code, shift, altgr = self._keys[character]
        held = [key for key, needed in ((_SHIFT, shift), (_ALTGR, altgr)) if needed]
        down = b"".join(event(ecodes.EV_KEY, key, 1, at) for key in held)
        up = b"".join(event(ecodes.EV_KEY, key, 0, at) for key in reversed(held))
        return down + stroke(code, at) + up


def stroke(code: int, at: float | None = None) -> bytes:
    """A key down and up."""
    return b"".join(event(*what, at) for what in ((1, code, 1), (0, 0, 0), (1, code, 0), (0, 0, 0)))


def event(kind: int, code: int, value: int, at: float | None = None) -> bytes:
    """One `struct input_event` at wall second `at`, default now."""
    at = time.time() if at is None else at
    return _EVENT.pack(int(at), int(at % 1 * 1e6), kind, code, value)
