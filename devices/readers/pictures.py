"""A picture -> the codes in it. Bounded in octets and pixels; PNG and JPEG only."""

from __future__ import annotations

import io

import zxingcpp
from PIL import Image

from devices.decoders.faults import FAULTS
from gateway.core.errors import DecodeError

MAX_OCTETS = 8 * 1024 * 1024
MAX_PIXELS = 16_000_000  # a phone's 12 megapixels, with room

# without DataBar and the like: what we never issue can only be misread
_FORMATS = zxingcpp.BarcodeFormats(
    [
        zxingcpp.BarcodeFormat.QRCode,
        zxingcpp.BarcodeFormat.Aztec,
        zxingcpp.BarcodeFormat.PDF417,
        zxingcpp.BarcodeFormat.Code128,
        zxingcpp.BarcodeFormat.Code39,
        zxingcpp.BarcodeFormat.EAN13,
        zxingcpp.BarcodeFormat.EAN8,
    ]
)


def decode_picture(octets: bytes) -> list[tuple[str, str]]:
    """The AIM symbology id and the text of the one code in a picture; empty when there is none.

    Raises:
        DecodeError: picture-oversize, picture-unreadable, picture-several-codes.
    """
    found = zxingcpp.read_barcodes(_grey(octets), formats=_FORMATS)
    codes = list(dict.fromkeys((code.symbology_identifier, code.text) for code in found))
    if len(codes) > 1:
        raise _error("picture-several-codes")
    return codes


def _grey(octets: bytes) -> Image.Image:
    if len(octets) > MAX_OCTETS:
        raise _error("picture-oversize")
    try:
        with Image.open(io.BytesIO(octets), formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _error("picture-oversize")
            return picture.convert("L")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _error("picture-oversize") from None
    except (OSError, ValueError, SyntaxError, TypeError, ArithmeticError, LookupError):
        # Pillow's plugins let these through for broken files
        raise _error("picture-unreadable") from None


def _error(slug: str) -> DecodeError:
    return DecodeError(slug, FAULTS[slug])
