"""Bulk import in a child process, so that parsing a platform's load never holds up an alert.

The parent feeds the child length-prefixed frames on its standard input: first the order (JSON, with the
credential key, which therefore never shows on a command line), then one frame for each line, then an end
mark. Without the end mark the child stops where it is, because the parent died: whole transactions of 1,000
lines have landed, and repeating the request is safe. The child answers with the pickled `PutResult`.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO, Final

from gateway.core.errors import LogError, PeerError
from gateway.shell.directory import Directory, PutResult

SMALL: Final = 200
TIME_LIMIT_SECONDS: Final = 900.0
_LENGTH: Final = struct.Struct(">I")
_END: Final = 0xFFFFFFFF
_CUT_OFF: Final = 3
_DISK: Final = 4


class Importer:
    """Puts records into the `directory.db` at `path`, at most one body at a time.

    Bodies of up to 200 lines go through `directory` where one is given; everything else through a child.
    """

    def __init__(
        self,
        path: Path,
        credential_key: bytes,
        store: str,
        directory: Directory | None = None,
        time_limit: float = TIME_LIMIT_SECONDS,
    ) -> None:
        self._path = path
        self._key = credential_key
        self._store = store
        self._directory = directory
        self._time_limit = time_limit
        self._turn = threading.Lock()

    def put(self, lines: Iterable[bytes], source: str, at: datetime) -> PutResult:
        """As `Directory.put`.

        Raises:
            PeerError: the child died or took too long; whole transactions have landed, repeating is safe.
            LogError: our disk failed.
        """
        rest = iter(lines)
        first = list(islice(rest, SMALL + 1))
        if self._directory is not None and len(first) <= SMALL:
            return self._directory.put(first, source, at)
        with self._turn:
            return self._put_in_child(chain(first, rest), source, at)

    def _put_in_child(self, lines: Iterable[bytes], source: str, at: datetime) -> PutResult:
        order = {
            "path": str(self._path),
            "key": self._key.hex(),
            "store": self._store,
            "source": source,
            "at": at.isoformat(),
        }
        child = subprocess.Popen(
            [sys.executable, "-m", "gateway.shell.importer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        # Ends the child however we leave, and whether it reads, computes or waits.
        limit = threading.Timer(self._time_limit, child.kill)
        limit.daemon = True
        limit.start()
        try:
            _feed(child, chain((json.dumps(order).encode(),), lines))
            answer = _answer(child)
        finally:
            limit.cancel()
            limit.join()
            child.kill()
            _close(child)
        return answer


def _feed(child: subprocess.Popen[bytes], frames: Iterable[bytes]) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError):  # it has died: its exit code says how
        for frame in frames:
            child.stdin.write(_LENGTH.pack(len(frame)) + frame)
        child.stdin.write(_LENGTH.pack(_END))
        child.stdin.flush()


def _answer(child: subprocess.Popen[bytes]) -> PutResult:
    assert child.stdout is not None
    raw = child.stdout.read()
    code = child.wait()
    if code == _DISK:
        raise LogError(
            "directory-failed", "directory.db failed during an import: check the disk, then restart."
        )
    if code != 0:
        raise PeerError(
            "import-failed",
            f"The import's process ended with {code}; what it had committed stays: send the same again.",
        )
    result = pickle.loads(raw)
    assert isinstance(result, PutResult)
    return result


def _close(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        with suppress(BrokenPipeError):
            if stream is not None:
                stream.close()
    child.wait()


class _CutOff(Exception):
    """The parent is gone."""


def _frames(stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        head = stream.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            raise _CutOff
        (length,) = _LENGTH.unpack(head)
        if length == _END:
            return
        frame = stream.read(length)
        if len(frame) < length:
            raise _CutOff
        yield frame


def main() -> int:
    """The child: reads the order and the lines, puts them, answers."""
    os.nice(10)
    gc.disable()  # a fifth of the time, to search records for cycles that are not there
    frames = _frames(sys.stdin.buffer)
    try:
        order = json.loads(next(frames))
        directory = Directory.open(
            Path(order["path"]), bytes.fromhex(order["key"]), order["store"], bulk=True
        )
        try:
            result = directory.put(frames, order["source"], datetime.fromisoformat(order["at"]))
        finally:
            directory.close()
    except _CutOff:
        return _CUT_OFF
    except LogError as error:
        sys.stderr.write(f"{error}\n")
        return _DISK
    sys.stdout.buffer.write(pickle.dumps(result))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
