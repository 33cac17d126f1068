"""A UHF tag's EPC -> a credential. Its meaning (SGTIN, SSCC …) is not looked at: the EPC is the name."""

from __future__ import annotations

from gateway.core.errors import DecodeError
from gateway.core.model import Credential, Proof

MAX_WORDS = 31  # 16-bit words: the length field in the tag's PC word has five bits


def decode_epc(epc: bytes) -> tuple[Credential, ...]:
    """The EPC in upper-case hex, as a hint.

    Raises:
        DecodeError: epc-length.
    """
    if not 2 <= len(epc) <= 2 * MAX_WORDS or len(epc) % 2:
        raise DecodeError("epc-length", "The EPC is not a whole number of 16-bit words, at most 31.")
    return (Credential("epc", epc.hex().upper(), Proof.HINT),)
