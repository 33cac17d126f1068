"""Check-in codes as pictures: PNG, SVG, and blocks for a terminal, made with `qrcode`.

Base45 keeps the code in QR's alphanumeric mode (ISO/IEC 18004), which takes 5.5 bits a character instead of 8.
"""

from __future__ import annotations

import io

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pil import PilImage
from qrcode.image.svg import SvgPathImage


def as_png(text: str) -> bytes:
    """A PNG, 10 pixels a module with the quiet zone that scanners need."""
    picture = _code(text).make_image(image_factory=PilImage)
    octets = io.BytesIO()
    picture.save(octets, "PNG")
    return octets.getvalue()


def as_svg(text: str) -> bytes:
    """An SVG document."""
    octets = io.BytesIO()
    _code(text).make_image(image_factory=SvgPathImage).save(octets)
    return octets.getvalue()


def as_text(text: str) -> str:
    """Half-block characters, dark on light whatever the terminal's colours."""
    lines = io.StringIO()
    _code(text).print_ascii(out=lines, invert=True)
    return lines.getvalue().rstrip("\n")


def _code(text: str) -> qrcode.QRCode[PilImage]:
    code: qrcode.QRCode[PilImage] = qrcode.QRCode(error_correction=ERROR_CORRECT_M, box_size=10, border=4)
    code.add_data(text)
    code.make(fit=True)
    return code
