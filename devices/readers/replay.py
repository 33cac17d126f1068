"""A reader that plays a script: NDJSON, one read a line, for the demo store and for tests.

    {"after": 1.5, "technology": "qr", "data": {"payload": "K7Q2MX"}}

`after` is seconds since the line before. The data goes out as it is: a script may hold broken reads.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.options import Option, values
from devices.reader import Deliver
from devices.reads import mint
from gateway.core.errors import ReaderError
from gateway.core.model import Technology

OPTIONS = {
    "path": Option(str, help="the script, NDJSON"),
    "repeat": Option(bool, False, help="begin again after the last line"),
}

_PAUSE_BETWEEN_ROUNDS = 0.05  # seconds: a script without pauses must not spin


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a script."""

    after: float
    technology: Technology
    fields: Mapping[str, object]


def build(settings: Mapping[str, object]) -> ReplayReader:
    """A reader from its `[[readers]]` table."""
    chosen = values(OPTIONS, settings)
    return ReplayReader(str(settings["id"]), Path(chosen["path"]), repeat=chosen["repeat"])


def parse(text: str) -> list[Step]:
    """The steps of a script.

    Raises:
        ReaderError: replay-script, with the line's number.
    """
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_step(number, line) for number, line in lines]


class ReplayReader:
    """See the module."""

    def __init__(self, reader_id: str, path: Path, *, repeat: bool = False) -> None:
        self._id = reader_id
        self._path = path
        self._repeat = repeat

    @property
    def id(self) -> str:
        return self._id

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Play the script, then wait for `stop`.

        Raises:
            ReaderError: replay-script, replay-unreadable.
        """
        try:
            steps = parse(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ReaderError("replay-unreadable", f"The script cannot be read: {error}.") from error
        ready()
        while not stop.is_set():
            for step in steps:
                if stop.wait(step.after):
                    return
                deliver(mint(self._id, step.technology, step.fields))
            stop.wait(_PAUSE_BETWEEN_ROUNDS if self._repeat and steps else None)


def _step(number: int, line: str) -> Step:
    try:
        match json.loads(line):
            case {"after": int() | float() as after, "technology": str(name), "data": dict(fields)}:
                if 0 <= after < threading.TIMEOUT_MAX:
                    return Step(float(after), Technology(name), fields)
    except ValueError:
        pass
    raise ReaderError("replay-script", f"Line {number} of the script is not a read; see its README.")
