"""What readers share: minting a read, telling repeats from new scans, and scanned text as a read's fields."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from gateway.core.model import Read, Technology

REPEAT_SECONDS = 2.0

_AIM = re.compile(r"\][A-Za-z][0-9A-Za-z]")


def mint(reader: str, technology: Technology, fields: Mapping[str, object]) -> Read:
    """A new read, with an id of its own and the time on this machine's clock. Call it once a scan."""
    return Read(uuid.uuid4().hex, reader, technology, dict(fields), datetime.now(UTC))


def fault(slug: str) -> dict[str, object]:
    """The fields of a scan that failed on its way; `slug` is one of `devices.decoders.faults`."""
    return {"fault": slug}


def scanned(text: str) -> dict[str, object]:
    """The fields of a scanned text. An AIM symbology id in front, as scanners can be set to send it, is
    taken off: no code of ours begins with `]`."""
    if _AIM.match(text):
        return {"payload": text[3:], "symbology": text[:3]}
    return {"payload": text}


class Repeats:
    """Whether a scan repeats the one before: the same fields at the same reader, within `seconds` of when
    they were last seen. A code that stays before the scanner is one read, however long it stays."""

    def __init__(self, seconds: float = REPEAT_SECONDS) -> None:
        self._seconds = seconds
        self._last: Mapping[str, object] | None = None
        self._seen = 0.0

    def seen(self, fields: Mapping[str, object], now: float) -> bool:
        """Note a scan at monotonic second `now`; True when it is a repeat."""
        repeat = fields == self._last and now - self._seen < self._seconds
        self._last, self._seen = fields, now
        return repeat
