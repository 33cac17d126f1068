"""One NFC tap, bounded: whatever a card does, reading it ends, in the read's fields or in a named fault.

nfcpy 1.0.4 loops for ever on a Type 4 tag whose NLEN is larger than its file, that answers READ BINARY with
nothing, or that asks for more waiting time without end; it waits up to five minutes in one frame when a tag
says so; and broken tags make it raise whatever its parsing runs into. The budget sits where every frame
passes, in `exchange`.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

import nfc
import nfc.clf
import nfc.tag

from devices.reads import fault

FRAMES = 200  # a full NTAG216 takes about 60
SECONDS = 2.0

_HLTA, _DESELECT = b"\x50\x00", b"\xc2"
_ISO_DEP = 0x20  # the SAK's bit 6: the card speaks ISO/IEC 14443-4

# at DEBUG nfcpy logs every frame, UIDs and content included: never ours to write down
logging.getLogger("nfc").setLevel(logging.WARNING)


class GuardedFrontend(nfc.ContactlessFrontend):  # type: ignore[misc]  # nfcpy has no types
    """nfcpy's frontend with a budget of frames and seconds a tap. `stop` ends a tap at once."""

    def __init__(self, device: Any, stop: threading.Event) -> None:
        super().__init__()
        self.device = device
        self.spent = False
        self._stop = stop
        self._frames = 0
        self._deadline = 0.0

    def arm(self, frames: int = FRAMES, seconds: float = SECONDS) -> None:
        """A new tap begins."""
        self.spent, self._frames, self._deadline = False, frames, time.monotonic() + seconds

    def exchange(self, send_data: bytes, timeout: float) -> bytearray:
        """One frame, no longer than the tap's time allows. Raises `nfc.clf.TimeoutError` once it is spent."""
        left = self._deadline - time.monotonic()
        if self._frames <= 0 or left <= 0 or self._stop.is_set():
            self.spent = True
            raise nfc.clf.TimeoutError("tap budget spent")
        self._frames -= 1
        answer: bytearray = super().exchange(send_data, min(timeout, left))
        return answer

    def present(self) -> nfc.clf.RemoteTarget | None:
        """The card in the field, after a reset of the field. Raises OSError when the reader is gone."""
        return self.sense(nfc.clf.RemoteTarget("106A"), iterations=1)

    def other_than(self, target: nfc.clf.RemoteTarget) -> bool:
        """Whether a second card is in the field. The first one is sent to sleep and does not answer again;
        a device that wakes sleeping cards finds the first one, with the same UID."""
        with contextlib.suppress(nfc.clf.CommunicationError):  # silence is the answer to HLTA
            self.exchange(_DESELECT if target.sel_res[0] & _ISO_DEP else _HLTA, 0.01)
        with self.lock:
            if self.device is None:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            try:
                other = self.device.sense_tta(nfc.clf.RemoteTarget("106A"))
            except nfc.clf.CommunicationError:
                return False
        return other is not None and bytes(other.sdd_res or b"") != bytes(target.sdd_res)

    def signal(self, on: bool) -> None:
        """The device's light and buzzer, where it has them."""
        if self.device is not None:
            (self.device.turn_on_led_and_buzzer if on else self.device.turn_off_led_and_buzzer)()


def read_tap(clf: GuardedFrontend, target: nfc.clf.RemoteTarget) -> Mapping[str, object]:
    """The fields of a tap, or a fault, within the budget.

    Raises:
        OSError: the reader, not the card, failed.
    """
    clf.arm()
    try:
        fields = _read(clf, target)
    except OSError:
        raise
    except Exception:  # noqa: BLE001  a hostile card makes nfcpy raise anything: IndexError, struct.error …
        fields = fault("nfc-tag-malformed")
    return fault("nfc-tap-budget") if clf.spent else fields


def _read(clf: GuardedFrontend, target: nfc.clf.RemoteTarget) -> dict[str, object]:
    fields: dict[str, object] = {"uid": bytes(target.sdd_res).hex()}
    tag = nfc.tag.activate(clf, target)
    content = None if tag is None else tag.ndef
    if clf.spent:
        return fields
    if clf.other_than(target):
        return fault("nfc-two-cards")
    if content is not None:
        return fields | {"ndef": base64.b64encode(content.octets).decode()}
    # no content, or none any more?
    return fields if clf.present() is not None else fault("nfc-torn-read")
