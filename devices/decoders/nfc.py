"""An NFC tap -> credentials: what the tag's own address proves first, then the chip's UID as a hint.

A UID identifies, it never authenticates: it can be copied. A card whose content is not ours still
identifies by its UID; the content's error counts only where there is no usable UID.
"""

from __future__ import annotations

from datetime import datetime

from devices.decoders.ndef import first_uri
from devices.decoders.qr import decode_url
from devices.decoders.trust import Trust
from gateway.core.errors import DecodeError
from gateway.core.model import Credential, Proof

UID_OCTETS = (4, 7, 10)  # ISO/IEC 14443-3: single, double and triple size


def decode_tap(
    uid: bytes | None, message: bytes | None, trust: Trust, at: datetime
) -> tuple[Credential, ...]:
    """The credentials of a tap. `message` is the tag's raw NDEF message; None where it could not be read.

    Raises:
        DecodeError: nfc-uid-length; nfc-random-uid (a phone's, which changes at every tap), nfc-empty or
            the content's own reason where there is no UID to fall back on.
    """
    problem = None if uid is None else _uid_problem(uid)
    if problem is not None and problem.reason != "nfc-random-uid":
        raise problem
    hint = (Credential("nfc-uid", uid.hex().upper(), Proof.HINT),) if uid is not None and not problem else ()
    if message is not None:
        try:
            return (*decode_url(first_uri(message), trust, at), *hint)
        except DecodeError as error:
            problem = error
    if hint:
        return hint
    raise problem or DecodeError("nfc-empty", "The reader sent neither a UID nor a tag's content.")


def _uid_problem(uid: bytes) -> DecodeError | None:
    if len(uid) not in UID_OCTETS:
        return DecodeError("nfc-uid-length", "The card's UID has a length that no card has.")
    if len(uid) == 4 and uid[0] == 0x08:
        return DecodeError(
            "nfc-random-uid", "A phone was tapped that shows no pass; show the booking's code."
        )
    return None
