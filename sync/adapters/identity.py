"""Ids for what comes from elsewhere under a name that must not be kept (an e-mail address, a UID)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

Identify = Callable[[str], str]


def identifier(key: bytes) -> Identify:
    """A function from a text to its id: `h-` and 32 hexadecimal digits of its HMAC-SHA256 under `key`."""

    def identify(text: str) -> str:
        return f"h-{hmac.new(key, text.encode('utf-8', 'surrogatepass'), hashlib.sha256).hexdigest()[:32]}"

    return identify
