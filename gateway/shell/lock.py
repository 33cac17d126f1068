"""One process at a time has a data directory: a lock that the kernel drops when its holder dies.

The file `lock` in the directory carries the holder's process id, for the message to whoever comes second. It
stays behind; only the kernel's lock on it counts. A child that is forked without exec would hold it too.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from gateway.core.errors import Refused

FILE = "lock"


class DataDir:
    """A data directory that is ours until `release`, or the end of the `with` block."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def hold(cls, path: Path) -> DataDir:
        """Take the directory, and make it (0700) where there is none.

        Raises:
            Refused: data-dir-in-use, another process has it; data-dir-unusable.
        """
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            why = f"The data directory {path} cannot be used ({error.strerror}); check who owns it."
            raise Refused("data-dir-unusable", why) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            who = f"process {holder}" if holder.isdecimal() else "another process"
            why = f"{who[0].upper()}{who[1:]} is using {path}; stop it first, or let it do this."
            raise Refused("data-dir-in-use", why) from None
        except OSError as error:
            os.close(descriptor)
            why = f"The data directory {path} cannot be locked ({error.strerror}); is it on a local disk?"
            raise Refused("data-dir-unusable", why) from error
        return cls(path, descriptor)

    def release(self) -> None:
        """Let the next one in. May be called again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DataDir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
