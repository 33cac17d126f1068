"""The text of a code -> credentials, the likeliest first.

| text                                      | credentials                                      |
|-------------------------------------------|--------------------------------------------------|
| base45, 60 characters or more             | `appointment`, proven, once the token holds      |
| `https://{our host}/hello/{x}`            | x as a token or as a booking code                |
| 4 to 12 letters and digits                | `booking-code` (upper case), then `loyalty`      |
| 1 to 64 letters, digits and hyphens       | `loyalty`                                        |

Whether a candidate is anybody's is the directory's to say. A loyalty number of 60 upper-case characters or
more is taken for a token, and refused.
"""

from __future__ import annotations

import re
from datetime import datetime

from devices.decoders import tokens, urls
from devices.decoders.trust import Trust
from gateway.core.errors import DecodeError
from gateway.core.model import Credential, Proof, SingleUse

MAX_LENGTH = 2048  # characters: a QR code's limit in bytes is 2953, ours never come near

# AIM symbology ids that we accept. Plain QR, and Aztec and PDF417 (wallet passes); Code 39, Code 128,
# EAN/UPC, Interleaved 2 of 5 and Codabar (loyalty cards). Not the GS1 and ECI variants: ]C1, ]Q3, ]d2, ]e0 …
SYMBOLOGIES = frozenset(
    ("]Q0", "]Q1", "]Q2", "]z0", "]L0", "]L2", "]A0", "]A1", "]C0", "]E0", "]E4", "]I0", "]I1", "]F0")
)

_BOOKING_CODE = re.compile(r"[A-Za-z0-9]{4,12}")
_LOYALTY = re.compile(r"[A-Za-z0-9-]{1,64}")


def decode_text(
    text: str, trust: Trust, at: datetime, symbology: str | None = None
) -> tuple[Credential, ...]:
    """The credentials that a scanned text may stand for, in order of preference.

    Raises:
        DecodeError: qr-empty, qr-oversize, qr-control-character, qr-symbology, qr-unknown-code; token-… and
            url-… of a code that is meant as one.
    """
    if not text:
        raise DecodeError("qr-empty", "The scanner sent an empty code.")
    if len(text) > MAX_LENGTH:
        raise DecodeError("qr-oversize", "The code is longer than any of ours.")
    if not text.isprintable():
        raise DecodeError("qr-control-character", "The code has control characters; it is none of ours.")
    if symbology is not None and symbology not in SYMBOLOGIES:
        raise DecodeError(
            "qr-symbology", "This kind of code is not accepted here; show the booking's QR code."
        )
    if urls.looks_like_url(text):
        return decode_url(text, trust, at)
    if tokens.looks_like_token(text):
        return (_proven(text, trust, at),)
    if _BOOKING_CODE.fullmatch(text):
        return _booking(text), Credential("loyalty", text, Proof.HELD)
    if _LOYALTY.fullmatch(text):
        return (Credential("loyalty", text, Proof.HELD),)
    return _unknown()


def decode_url(url: str, trust: Trust, at: datetime) -> tuple[Credential, ...]:
    """The credential in one of our addresses: a token's or a booking code's, never a loyalty number.

    Raises:
        DecodeError: url-…, token-…, qr-unknown-code, and qr-control-character or qr-oversize.
    """
    if len(url) > MAX_LENGTH:
        raise DecodeError("qr-oversize", "The address is longer than any of ours.")
    if not url.isprintable():
        raise DecodeError("qr-control-character", "The address has control characters; it is none of ours.")
    text = urls.hello(url, trust.hosts)
    if tokens.looks_like_token(text):
        return (_proven(text, trust, at),)
    if _BOOKING_CODE.fullmatch(text):
        return (_booking(text),)
    return _unknown()


def _proven(text: str, trust: Trust, at: datetime) -> Credential:
    claims = tokens.verify(text, trust, at)
    once = SingleUse(claims.token_id, claims.expires_at)
    return Credential("appointment", claims.appointment, Proof.PROVEN, once)


def _booking(text: str) -> Credential:
    return Credential("booking-code", text.upper(), Proof.HELD)


def _unknown() -> tuple[Credential, ...]:
    raise DecodeError("qr-unknown-code", "This code is neither a booking nor a loyalty card of ours.")
