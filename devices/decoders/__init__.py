"""Reads -> credentials. Pure: the time and whom to trust are passed in, nothing is kept.

decode(read, trust, at) -> the credentials the read may stand for, the most preferred first
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime

from devices.decoders.faults import FAULTS
from devices.decoders.nfc import decode_tap
from devices.decoders.qr import decode_text
from devices.decoders.rfid import decode_epc
from devices.decoders.trust import Trust
from gateway.core.errors import DecodeError
from gateway.core.model import Credential, Read, Technology

__all__ = ["Trust", "decode"]

MAX_FIELD = 16_384  # characters of hex or base64


def decode(read: Read, trust: Trust, at: datetime) -> tuple[Credential, ...]:
    """The credentials of a read, at least one. BLE is not decoded in this release: an advert is refused
    with `ble-not-enrolled`, whatever it holds.

    Raises:
        DecodeError: the only exception, whatever `read.data` holds.
    """
    if "fault" in read.data:
        raise _fault(read.data["fault"])
    match read.technology:
        case Technology.QR:
            return _qr(read.data, trust, at)
        case Technology.NFC:
            uid, message = _hex(read.data, "uid"), _base64(read.data, "ndef")
            return decode_tap(uid, message, trust, at)
        case Technology.RFID:
            epc = _hex(read.data, "epc")
            if epc is None:
                raise DecodeError("read-field-missing", "The read has no `epc`.")
            return decode_epc(epc)
        case Technology.BLE:
            raise DecodeError("ble-not-enrolled", "No BLE badge is enrolled; this release decodes none.")


def _qr(data: Mapping[str, object], trust: Trust, at: datetime) -> tuple[Credential, ...]:
    payload, symbology = _text(data, "payload"), _text(data, "symbology")
    if payload is None:
        raise DecodeError("read-field-missing", "The read has no `payload`.")
    return decode_text(payload, trust, at, symbology)


def _fault(slug: object) -> DecodeError:
    if isinstance(slug, str) and slug in FAULTS:
        return DecodeError(slug, FAULTS[slug])
    return DecodeError("read-fault-unknown", "The reader reports a fault that this release does not know.")


def _text(data: Mapping[str, object], name: str) -> str | None:
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise DecodeError("read-field-type", f"The read's `{name}` is not text.")
    return value


def _bounded(data: Mapping[str, object], name: str) -> str | None:
    value = _text(data, name)
    if value is not None and len(value) > MAX_FIELD:
        raise DecodeError("read-field-oversize", f"The read's `{name}` is longer than any device sends.")
    return value


def _hex(data: Mapping[str, object], name: str) -> bytes | None:
    value = _bounded(data, name)
    try:
        return None if value is None else binascii.unhexlify(value)
    except ValueError:
        raise DecodeError("read-field-not-hex", f"The read's `{name}` is not pairs of hex digits.") from None


def _base64(data: Mapping[str, object], name: str) -> bytes | None:
    value = _bounded(data, name)
    try:
        return None if value is None else base64.b64decode(value, validate=True)
    except ValueError:
        raise DecodeError("read-field-not-base64", f"The read's `{name}` is not base64.") from None
