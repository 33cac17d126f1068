"""The child process that reads a calendar: `calendars.read_apart` gives it the order and takes the answer.

Alone, it may run hot, its time limits work by signals, and the time zones that a file defines, which the
library keeps for good, end with it.
"""

from __future__ import annotations

import os
import pickle
import sys

from gateway.core.errors import DecodeError
from sync.adapters.ical import records
from sync.adapters.identity import identifier


def main() -> int:
    """Answers the pickled `Mapped`, or the reason and detail of a `DecodeError`."""
    os.nice(10)
    raw, feed, at, key, known = pickle.load(sys.stdin.buffer)
    try:
        answer: object = records(raw, feed, at, identifier(key), known)
    except DecodeError as error:
        answer = (error.reason, error.detail)
    sys.stdout.buffer.write(pickle.dumps(answer))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
