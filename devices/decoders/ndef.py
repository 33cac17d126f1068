"""An NDEF message, as read from a tag -> the web address it holds."""

from __future__ import annotations

import ndef

from gateway.core.errors import DecodeError

MAX_OCTETS = 8192


def first_uri(message: bytes) -> str:
    """The first address in the message, as a smart poster or a URI record, not percent-encoded again.

    Raises:
        DecodeError: ndef-empty, ndef-oversize, ndef-malformed, ndef-no-uri.
    """
    if not message or message == b"\xd0\x00\x00":  # NFC Forum: one empty record stands for nothing
        raise DecodeError("ndef-empty", "The tag is empty.")
    if len(message) > MAX_OCTETS:
        raise DecodeError("ndef-oversize", "The tag holds more than any tag of ours.")
    for record in _records(message):
        if isinstance(record, ndef.UriRecord):
            return str(record.iri)
        if isinstance(record, ndef.SmartposterRecord):
            return str(record.resource.iri)
    raise DecodeError("ndef-no-uri", "The tag holds no web address.")


def _records(message: bytes) -> list[ndef.Record]:
    try:
        records = list(ndef.message_decoder(message, errors="strict"))
    except (ndef.DecodeError, ValueError, TypeError, ArithmeticError, LookupError):
        # the library's record classes raise these, unwrapped, for fields that are out of range
        raise DecodeError("ndef-malformed", "The tag's NDEF message is damaged.") from None
    if _length(message) != len(message):
        raise DecodeError("ndef-malformed", "The tag's NDEF message has bytes after its end.")
    return records


def _length(message: bytes) -> int:
    """Where the record with the message-end flag ends: the library decodes no further and says nothing."""
    at = 0
    while True:
        flags, type_length = message[at], message[at + 1]
        short, has_id = flags & 0x10, flags & 0x08
        width = 1 if short else 4
        payload_length = int.from_bytes(message[at + 2 : at + 2 + width], "big")
        at += 2 + width
        id_length = message[at] if has_id else 0
        at += (1 if has_id else 0) + type_length + id_length + payload_length
        if flags & 0x40:
            return at
