"""A camera, by way of the frames that another program drops: `libcamera-still`, `ffmpeg`, a vendor's agent.

`path` is a directory of PNG or JPEG frames, or one such file that is replaced again and again. The other
program owns its files: it writes under another ending and renames, and it removes old frames (a ring on a
tmpfs does). Frames that were there before this reader began are old and not looked at. Nothing is deleted,
nothing is kept, and V4L2, with its drivers' ways of hanging, stays out of this process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from devices.options import Option, between, values
from devices.reader import Deliver
from devices.reads import Repeats, fault, mint
from gateway.core.errors import DecodeError, ReaderError
from gateway.core.model import Technology

OPTIONS = {
    "path": Option(str, help="a directory of frames, or one file"),
    "poll_seconds": Option(float, 0.1, problem=between(0.02, 10)),
    "stall_seconds": Option(float, 0.0, help="no new frame for so long is a fault; 0: never"),
}
MAX_FRAMES = 1000

Frame = tuple[int, int, int]  # inode, mtime in ns, size: a frame's identity


def build(settings: Mapping[str, object]) -> CameraReader:
    """A reader from its `[[readers]]` table."""
    chosen = values(OPTIONS, settings)
    return CameraReader(
        str(settings["id"]), Path(chosen["path"]), chosen["poll_seconds"], chosen["stall_seconds"]
    )


def decode_picture(octets: bytes) -> list[tuple[str, str]]:
    """`devices.readers.pictures.decode_picture`, whose libraries are loaded at the first call."""
    from devices.readers import pictures

    return pictures.decode_picture(octets)


class CameraReader:
    """See the module."""

    def __init__(self, reader_id: str, path: Path, poll: float = 0.1, stall: float = 0.0) -> None:
        self._id = reader_id
        self._path = path
        self._poll = poll
        self._stall = stall

    @property
    def id(self) -> str:
        return self._id

    def run(self, deliver: Deliver, stop: threading.Event, ready: Callable[[], None]) -> None:
        """Decode new frames until stopped.

        Raises:
            ReaderError: camera-lost, camera-spool-full, camera-stalled.
        """
        repeats, known = Repeats(), self._frames()
        fresh_at = time.monotonic()
        ready()
        while not stop.wait(self._poll):
            frames = self._frames()
            now = time.monotonic()
            new = sorted(
                (path for path in frames if frames[path] != known.get(path)), key=lambda p: frames[p][1]
            )
            known = frames
            fresh_at = now if new else fresh_at
            if self._stall and now - fresh_at > self._stall:
                raise ReaderError("camera-stalled", "No new frame has come; look at the camera's program.")
            for path in new:
                fields = _look(path)
                if fields is not None and not repeats.seen(fields, now) and not stop.is_set():
                    deliver(mint(self._id, Technology.QR, fields))

    def _frames(self) -> dict[Path, Frame]:
        try:
            if not self._path.is_dir():
                return {self._path: _identity(self._path)}
            paths = [
                path for path in self._path.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg")
            ]
        except OSError as error:
            raise ReaderError("camera-lost", f"The camera's frames are not there: {error}.") from error
        if len(paths) > MAX_FRAMES:
            raise ReaderError("camera-spool-full", "The camera's program does not remove its old frames.")
        frames = {}
        for path in paths:
            try:
                frames[path] = _identity(path)
            except FileNotFoundError:  # removed since it was listed
                continue
        return frames


def _identity(path: Path) -> Frame:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _look(path: Path) -> dict[str, object] | None:
    """The read's fields; None for a frame without a code, or one that its program has removed already."""
    from devices.readers.pictures import MAX_OCTETS

    try:
        with path.open("rb") as frame:
            codes = decode_picture(frame.read(MAX_OCTETS + 1))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReaderError("camera-lost", f"A frame cannot be read: {error}.") from error
    except DecodeError as error:
        return fault(error.reason)
    return {"payload": codes[0][1], "symbology": codes[0][0]} if codes else None
