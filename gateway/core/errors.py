"""Errors say who erred.

| class          | who erred                       | what happens next                                     |
|----------------|---------------------------------|-------------------------------------------------------|
| `Refused`      | the caller of a command         | nothing changes; the caller hears `reason`, `detail`   |
| `DecodeError`  | what a device delivered         | the read is refused with `reason`; the reader goes on  |
| `ReaderError`  | a device                        | its supervisor closes it, waits and opens it again     |
| `PeerError`    | the broker or the platform      | tried again with back-off; nothing is forgotten        |
| `LogError`     | our own disk                    | nothing more is acknowledged; the process ends         |

`reason` is a stable slug for machines (`token-expired`); `detail` is one sentence for people that names
what is wrong and what to do. Neither ever contains a credential or a person's name.
"""

from __future__ import annotations


class SogliaError(Exception):
    """The base of every error this project raises on purpose."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{detail} [{reason}]")
        self.reason = reason
        self.detail = detail


class Refused(SogliaError):
    """The caller asked for something that is not possible; nothing has changed."""


class DecodeError(SogliaError):
    """What a device delivered is not a credential we can accept."""


class ReaderError(SogliaError):
    """A device is unplugged, hangs or speaks nonsense; its supervisor will open it again."""


class PeerError(SogliaError):
    """The broker or the platform failed us; the shell tries again and forgets nothing."""


class LogError(SogliaError):
    """Our own disk failed: stop acknowledging and exit, the service manager starts us again."""
