"""Lines out of a stream of bytes, bounded: a line that never ends costs no more memory than the limit."""

from __future__ import annotations


class Lines:
    """Feed bytes, take whole lines without their end. A line over `limit` bytes is cut to `limit + 1`, which is
    enough for its reader to see that it is too long."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes."""
        first, *others = chunk.split(b"\n")
        self._rest += first[: self._limit + 1 - len(self._rest)]
        if not others:
            return []
        *whole, last = others
        lines = [self._rest, *(line[: self._limit + 1] for line in whole)]
        self._rest = last[: self._limit + 1]
        return lines

    def end(self) -> list[bytes]:
        """The last line, when the stream did not end with a line feed."""
        return [self._rest] if self._rest else []
