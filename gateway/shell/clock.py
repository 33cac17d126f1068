"""The gateway's time: a wall anchor plus the monotonic clock, so that it never runs backwards.

    wall clock                     our time                                    trusted
    keeps pace                     anchor + monotonic                          yes
    jumps forward                  jumps with it, at the next `check`          yes
    jumps backward                 goes on at the monotonic clock's pace       no, until the wall has caught up
    before `floor` at the start    begins at `floor` and goes on               no, until the wall has caught up

`floor` is the latest time that the log holds: a box whose clock battery is empty starts in 1970, and must not
write before what is already written. The price: a wall clock that was wrongly ahead has taken us with it, and
after its correction our time stays ahead, untrusted, until the wall gets there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

EARLIEST: Final = datetime(2024, 1, 1, tzinfo=UTC)  # no clock that is right shows less: the code is younger
THRESHOLD: Final = timedelta(seconds=1)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Nanoseconds = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Adjustment:
    """The wall clock jumped by so much (positive: forward). `trusted`: our time agrees with it now."""

    by: timedelta
    trusted: bool

    @property
    def by_milliseconds(self) -> int:
        return self.by // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class _Anchor:
    wall: int  # microseconds since 1970
    monotonic: int  # nanoseconds


class Clock:
    """See the module. `now` may be called from any thread, `check` from one."""

    def __init__(
        self,
        floor: datetime | None = None,
        *,
        wall: Nanoseconds = time.time_ns,
        monotonic: Nanoseconds = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = (
            0  # microseconds by which the wall was ahead of us (negative: behind) when last reported
        )
        least = max(floor or EARLIEST, EARLIEST)
        read = self._read_wall()
        self._anchor = _Anchor(max(read, _microseconds(least)), monotonic())
        self._trusted = read - self._anchor.wall >= -_THRESHOLD

    @property
    def trusted(self) -> bool:
        """Whether the wall clock, when it was last checked, was not behind us."""
        return self._trusted

    def now(self) -> datetime:
        """The time, in UTC; never less than any time it gave before."""
        return _EPOCH + timedelta(microseconds=self._estimate())

    def check(self) -> Adjustment | None:
        """Compare with the wall clock and follow it forward; what it did since the last check, if it jumped.

        Call it about once a second, and after every long sleep.
        """
        monotonic, wall = self._monotonic(), self._read_wall()
        ahead = wall - self._estimate(monotonic)
        jump = ahead - self._offset
        trusted = ahead >= -_THRESHOLD
        if abs(jump) <= _THRESHOLD and ahead <= _THRESHOLD and trusted == self._trusted:
            return None
        self._offset = min(ahead, 0)
        self._trusted = trusted
        if ahead > 0:
            self._anchor = _Anchor(wall, monotonic)
        return Adjustment(timedelta(microseconds=jump), self._trusted)

    def _estimate(self, monotonic: int | None = None) -> int:
        anchor = self._anchor
        at = self._monotonic() if monotonic is None else monotonic
        return anchor.wall + max(at - anchor.monotonic, 0) // 1000

    def _read_wall(self) -> int:
        return self._wall() // 1000


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


_THRESHOLD: Final = THRESHOLD // _MICROSECOND
