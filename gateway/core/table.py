"""An immutable mapping that is cheap to change: the state after an event shares nearly all of the state before.

32 rows of 32 buckets, which are plain dicts; replacing an entry copies the list of rows, one row and one bucket,
so an update costs about as much with ten entries as with ten thousand. Keys go to buckets by CRC-32, not by
`hash`, which differs from process to process. Iteration is in the order of keys, so that no decision can depend
on history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar
from zlib import crc32

V = TypeVar("V")

_BITS = 5
_WIDTH = 1 << _BITS
_MASK = _WIDTH - 1


class Table(Mapping[str, V], Generic[V]):
    """An immutable `Mapping[str, V]`; `with_` and `without` give the changed copy."""

    __slots__ = ("_rows", "_size")

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        rows: list[list[dict[str, V]]] = [[{} for _ in range(_WIDTH)] for _ in range(_WIDTH)]
        for key, value in (entries or {}).items():
            at = crc32(key.encode())
            rows[at >> _BITS & _MASK][at & _MASK][key] = value
        self._rows = tuple(map(tuple, rows))
        self._size = len(entries or ())

    def _replaced(self, at: int, bucket: dict[str, V], size: int) -> Table[V]:
        """The copy with another bucket at the hash `at`."""
        rows = list(self._rows)
        row = list(rows[at >> _BITS & _MASK])
        row[at & _MASK] = bucket
        rows[at >> _BITS & _MASK] = tuple(row)
        table: Table[V] = Table.__new__(Table)
        table._rows = tuple(rows)
        table._size = size
        return table

    def with_(self, key: str, value: V) -> Table[V]:
        """This table with `key` set to `value`."""
        at = crc32(key.encode())
        bucket = self._rows[at >> _BITS & _MASK][at & _MASK]
        return self._replaced(at, {**bucket, key: value}, self._size + (key not in bucket))

    def without(self, key: str) -> Table[V]:
        """This table without `key`; itself when it has no such key."""
        at = crc32(key.encode())
        bucket = self._rows[at >> _BITS & _MASK][at & _MASK]
        if key not in bucket:
            return self
        return self._replaced(at, {k: v for k, v in bucket.items() if k != key}, self._size - 1)

    def __getitem__(self, key: str) -> V:
        at = crc32(key.encode())
        return self._rows[at >> _BITS & _MASK][at & _MASK][key]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(key for row in self._rows for bucket in row for key in bucket))

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"
