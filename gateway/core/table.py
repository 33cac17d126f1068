"""An immutable mapping that is cheap to change: the state after an event shares nearly all of the state before.

256 buckets of plain dicts; replacing an entry copies the row of buckets and one bucket, so an update costs about
as much with ten entries as with ten thousand. Keys go to buckets by CRC-32, not by `hash`, which differs from
process to process. Iteration is in the order of keys, so that no decision can depend on history.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar
from zlib import crc32

V = TypeVar("V")

_WIDTH = 256


class Table(Mapping[str, V], Generic[V]):
    """An immutable `Mapping[str, V]`; `with_` and `without` give the changed copy."""

    __slots__ = ("_buckets", "_size")

    def __init__(self, entries: Mapping[str, V] | None = None) -> None:
        buckets: list[dict[str, V]] = [{} for _ in range(_WIDTH)]
        for key, value in (entries or {}).items():
            buckets[crc32(key.encode()) % _WIDTH][key] = value
        self._buckets = tuple(buckets)
        self._size = sum(map(len, buckets))

    @classmethod
    def _of(cls, buckets: tuple[dict[str, V], ...], size: int) -> Table[V]:
        table = cls.__new__(cls)
        table._buckets = buckets
        table._size = size
        return table

    def with_(self, key: str, value: V) -> Table[V]:
        """This table with `key` set to `value`."""
        at = crc32(key.encode()) % _WIDTH
        bucket = self._buckets[at]
        row = (*self._buckets[:at], {**bucket, key: value}, *self._buckets[at + 1 :])
        return self._of(row, self._size + (key not in bucket))

    def without(self, key: str) -> Table[V]:
        """This table without `key`; itself when it has no such key."""
        at = crc32(key.encode()) % _WIDTH
        bucket = self._buckets[at]
        if key not in bucket:
            return self
        rest = {k: v for k, v in bucket.items() if k != key}
        return self._of((*self._buckets[:at], rest, *self._buckets[at + 1 :]), self._size - 1)

    def __getitem__(self, key: str) -> V:
        return self._buckets[crc32(key.encode()) % _WIDTH][key]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(key for bucket in self._buckets for key in bucket))

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Table({dict(self)!r})"
