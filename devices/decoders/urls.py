"""Our own web addresses: `https://{host}/hello/{token or booking code}`, in a QR code or on an NFC tag."""

from __future__ import annotations

import re
from typing import Never
from urllib.parse import unquote, urlsplit

from gateway.core.errors import DecodeError

_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


def looks_like_url(text: str) -> bool:
    """Whether `text` is meant as an address that names a scheme and a host."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def hello(url: str, hosts: frozenset[str]) -> str:
    """What follows `/hello/` in one of our addresses, percent-decoded. Query and fragment do not count.

    Raises:
        DecodeError: url-not-https, url-foreign-host, url-unknown-path, url-malformed.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        _malformed()
    if parts.scheme != "https":
        raise DecodeError("url-not-https", "The address is not https; it cannot be trusted.")
    where = host if port in (None, 443) else f"{host}:{port}"
    if "@" in parts.netloc or where not in hosts:
        raise DecodeError("url-foreign-host", "The address is not one of this store's.")
    lead, _, rest = parts.path.removeprefix("/").partition("/")
    if lead != "hello" or not rest or "/" in rest:
        raise DecodeError("url-unknown-path", "The address is ours, but it names no booking.")
    if not _ESCAPES.fullmatch(rest):
        _malformed()
    try:
        return unquote(rest, errors="strict")
    except UnicodeDecodeError:
        _malformed()


def _malformed() -> Never:
    raise DecodeError("url-malformed", "The address is not well-formed.")
