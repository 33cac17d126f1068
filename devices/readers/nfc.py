"""An NFC reader on USB or a serial line (PN53x, RC-S380, ACR122U), through nfcpy: the card's UID and, where it
has one, its NDEF message.

nfcpy's own `connect` is not used: it hides a lost reader behind a return value. A card that stays is one
tap. A hostile or broken card is a refused read, and the reader goes on; a lost reader is a `ReaderError`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING

from devices.options import Option, problems, refuse, values
from devices.reader import Deliver
from devices.reads import fault, mint
from gateway.core.errors import ReaderError
from gateway.core.model import Technology
from gateway.core.receipts import Outcome, Receipt

if TYPE_CHECKING:
    from devices.readers.tap import GuardedFrontend

OPTIONS = {
    "path": Option(
        str,
        "usb",
        help="usb, usb:072f:2200, tty:USB0:pn532 …",
        problem=lambda path: None if str(path).split(":")[0] in ("usb", "tty", "udp") else "unknown bus",
    ),
    "allow_udp_for_tests": Option(
        bool, False, help="accept udp: paths, which anybody on the network can feed"
    ),
}
GONE_SECONDS = 0.3  # a card out of the field for so long has left
_POLL = 0.05


def check(settings: Mapping[str, object]) -> list[str]:
    """Everything that is wrong with the table."""
    found = problems(OPTIONS, settings)
    if str(settings.get("path", "")).startswith("udp") and settings.get("allow_udp_for_tests") is not True:
        found.append("path: udp is for tests only; name a usb or tty device")
    return found


def build(settings: Mapping[str, object]) -> NfcReader:
    """A reader from its `[[readers]]` table."""
    refuse(settings, check(settings))
    return NfcReader(str(settings["id"]), values(OPTIONS, settings)["path"])


def connect(path: str) -> object | None:
    """nfcpy's device at `path`; None when there is none. Raises OSError."""
    import nfc.clf.device

    device: object | None = nfc.clf.device.connect(path)
    return device


class Field:
    """Which card is in the field, and whether it has just arrived. Pure: `now` is a monotonic second."""

    def __init__(self) -> None:
        self._uid: bytes | None = None
        self._seen = 0.0
        self._several = False

    def arrived(self, uid: bytes | None, now: float) -> bool:
        """Note what a poll saw (None: nothing); True when this is a new tap."""
        if uid is None:
            if now - self._seen > GONE_SECONDS:
                self._uid, self._several = None, False
            return False
        before, self._uid, self._seen = self._uid, uid, now
        if before is None:
            return True
        # a phone has another random UID whenever the field has been off, as it is between polls
        same = uid == before or (_is_random(uid) and _is_random(before))
        return not same and not self._several

    def several(self) -> None:
        """Two cards: no more taps until the field is empty, whichever of them answers."""
        self._several = True

    @property
    def empty(self) -> bool:
        """Whether no card is there."""
        return self._uid is None


class NfcReader:
    """See the module. `connect` opens the device; tests give it a simulated one."""

    def __init__(self, reader_id: str, path: str, connect: Callable[[str], object | None] = connect) -> None:
        self._id = reader_id
        self._path = path
        self._connect = connect

    @property
    def id(self) -> str:
        return self._id

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Deliver each tap until stopped.

        Raises:
            ReaderError: nfc-not-found, nfc-lost, nfc-unsupported.
        """
        import nfc.clf

        from devices.readers.tap import GuardedFrontend

        try:
            clf = GuardedFrontend(self._connect(self._path), stop)
            if clf.device is None:
                raise ReaderError("nfc-not-found", "No NFC reader is plugged in there, or access is denied.")
            try:
                ready()
                self._poll(clf, deliver, stop)
            finally:
                clf.close()
        except OSError as error:
            raise ReaderError("nfc-lost", f"The NFC reader does not answer any more: {error}.") from error
        except nfc.clf.UnsupportedTargetError as error:
            raise ReaderError("nfc-unsupported", "The NFC reader cannot read cards of type A.") from error

    def _poll(self, clf: GuardedFrontend, deliver: Deliver, stop: threading.Event) -> None:
        from devices.readers.tap import read_tap

        field = Field()
        answer: Future[Receipt] | None = None
        lit = False
        while not stop.wait(_POLL):
            target = clf.present()
            # a Type 1 tag has no UID of its own, only what RID answers
            uid = None if target is None else bytes(target.sdd_res or target.rid_res or b"")
            if field.arrived(uid, time.monotonic()):
                fields = read_tap(clf, target)
                if stop.is_set():
                    return
                if fields == fault("nfc-two-cards"):
                    field.several()
                answer = deliver(mint(self._id, Technology.NFC, fields))
            if lit and field.empty:
                lit = False
                clf.signal(lit)
            if answer is not None and answer.done():
                lit, answer = _accepted(answer), None
                clf.signal(lit)


def _is_random(uid: bytes) -> bool:
    return len(uid) == 4 and uid[0] == 0x08


def _accepted(answer: Future[Receipt]) -> bool:
    if answer.cancelled() or answer.exception() is not None:
        return False
    return answer.result().final.outcome is Outcome.ACCEPTED
