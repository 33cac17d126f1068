"""Base45 (RFC 9285): bytes as text that fits a QR code's alphanumeric mode.

Two bytes become three characters, a last single byte two, least significant character first.
"""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

_VALUE = {character: value for value, character in enumerate(ALPHABET)}


def encode(octets: bytes) -> str:
    """The base45 text of `octets`."""
    characters: list[str] = []
    for at in range(0, len(octets) - 1, 2):
        rest, low = divmod(octets[at] * 256 + octets[at + 1], 45)
        high, middle = divmod(rest, 45)
        characters += ALPHABET[low], ALPHABET[middle], ALPHABET[high]
    if len(octets) % 2:
        high, low = divmod(octets[-1], 45)
        characters += ALPHABET[low], ALPHABET[high]
    return "".join(characters)


def decode(text: str) -> bytes:
    """The bytes that `text` stands for.

    Raises:
        ValueError: a character, a length or a group that no encoder writes.
    """
    try:
        values = [_VALUE[character] for character in text]
    except KeyError:
        raise ValueError("a character is not of the base45 alphabet") from None
    octets = bytearray()
    whole = len(values) - len(values) % 3
    for at in range(0, whole, 3):
        number = values[at] + 45 * values[at + 1] + 2025 * values[at + 2]
        if number > 0xFFFF:
            raise ValueError("a group of three characters is too large")
        octets += number.to_bytes(2, "big")
    match values[whole:]:
        case []:
            pass
        case [low, high] if low + 45 * high <= 0xFF:
            octets.append(low + 45 * high)
        case _:
            raise ValueError("the last group has a wrong length or is too large")
    return bytes(octets)
