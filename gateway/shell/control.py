"""The daemon's control socket: how `soglia` commands that change something reach the one process that may.

A 0600 Unix socket in the data directory. One request a connection, one line each way:

    {"op": "token.issue", "scope": "operator"}
    {"ok": true, "result": {"token": "…"}}   or   {"ok": false, "reason": "scope-unknown", "detail": "…"}

Only the daemon's own user and root are heard (SO_PEERCRED), whatever the file's mode has become.

    do      answer a refusal with its reason: handlers raise `Refused`
    don't   use it for anything that another machine should reach: that is what the API is for
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.core.errors import PeerError, Refused, SogliaError

FILE: Final = "control.sock"
MAX_REQUEST: Final = 64 * 1024  # bytes
MAX_ANSWER: Final = 64 * 1024 * 1024
REQUEST_SECONDS: Final = 5.0  # a caller that has not sent its line by then is hung up on
MAX_CALLERS: Final = 16

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Control:
    """The daemon's end. `handlers` maps an op to what does it, with the request's other fields.

    The caller holds the data directory's lock (`lock.py`), so that a socket found there is a dead daemon's.
    """

    def __init__(
        self, path: Path, handlers: Mapping[str, Handler], *, seconds: float = REQUEST_SECONDS
    ) -> None:
        self._path = path
        self._handlers = dict(handlers)
        self._seconds = seconds
        self._slots = threading.BoundedSemaphore(MAX_CALLERS)
        self._callers: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen; from now on `call` is answered.

        Raises:
            Refused: control-unusable, the path is taken by something else or cannot be made.
        """
        self._stopping.clear()
        self._listener = _listen(self._path)
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), name="control")
        self._thread.start()

    def stop(self) -> None:
        """Hang up on whoever has not asked yet, let what runs finish, and take the socket away."""
        if self._listener is None or self._thread is None:
            return
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        with self._lock:
            callers = dict(self._callers)
        for connection in callers.values():
            with contextlib.suppress(OSError):  # it has just closed by itself
                connection.shutdown(socket.SHUT_RD)
        for thread in callers:
            thread.join()
        self._listener = self._thread = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._stopping.is_set():
                    return
                raise
            self._slots.acquire()
            thread = threading.Thread(target=self._serve, args=(connection,), name="control-caller")
            with self._lock:
                self._callers[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                answer = self._answer(connection)
                connection.settimeout(self._seconds)
                with contextlib.suppress(OSError):  # the caller has gone: there is nobody to tell
                    connection.sendall(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        finally:
            with self._lock:
                del self._callers[threading.current_thread()]
            self._slots.release()

    def _answer(self, connection: socket.socket) -> dict[str, Any]:
        try:
            _check_peer(connection)
            request = _request(_line(connection, MAX_REQUEST, self._seconds))
            handler = self._handlers.get(str(request.pop("op", "")))
            if handler is None:
                raise Refused(
                    "control-unknown-op", "The daemon does not know this command; is it an older version?"
                )
            return {"ok": True, "result": handler(request)}
        except SogliaError as error:
            return {"ok": False, "reason": error.reason, "detail": error.detail}


def call(path: Path, op: str, /, *, timeout: float = 60.0, **fields: object) -> dict[str, Any]:
    """Ask the daemon behind the socket at `path` and give its result; `timeout` seconds for the whole answer.

    Raises:
        Refused: with the daemon's reason.
        PeerError: daemon-not-running; daemon-silent, it took too long or broke off; daemon-forbidden.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        _connect(connection, path)
        try:
            with contextlib.suppress(ConnectionError):  # hung up on, maybe with an answer that says why
                connection.sendall(json.dumps({**fields, "op": op}).encode() + b"\n")
            answer = json.loads(_line(connection, MAX_ANSWER, timeout))
        except (OSError, ValueError, Refused) as error:
            raise _silent() from error
    match answer:
        case {"ok": True, "result": dict(result)}:
            return result
        case {"ok": False, "reason": str(reason), "detail": str(detail)}:
            raise Refused(reason, detail)
        case _:
            raise _silent()


def _connect(connection: socket.socket, path: Path) -> None:
    try:
        with _short(path) as name:
            connection.connect(name)
    except PermissionError as error:
        raise PeerError("daemon-forbidden", "Only root and the daemon's own user may do this.") from error
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
        raise PeerError("daemon-not-running", f"No daemon answers at {path}; start it first.") from error
    except OSError as error:
        raise _silent() from error


def _silent() -> PeerError:
    why = "The daemon did not answer; its log says why. What was asked may still have been done."
    return PeerError("daemon-silent", why)


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into the 108 bytes of a Unix socket's address, however deep the directory."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, 0600 from its first moment: it is made in a closed folder and moved."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
            raise Refused("control-unusable", f"{path} is not a socket; move it away.")
        with tempfile.TemporaryDirectory(prefix=".control-", dir=path.parent) as folder:
            made = Path(folder) / "s"
            with _short(made) as name:
                listener.bind(name)
            made.chmod(0o600)
            listener.listen(MAX_CALLERS)
            made.rename(path)
    except OSError as error:
        listener.close()
        raise Refused("control-unusable", f"{path} cannot be made ({error.strerror}).") from error
    except Refused:
        listener.close()
        raise
    return listener


def _check_peer(connection: socket.socket) -> None:
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if not allowed(uid):
        raise Refused("control-forbidden", "Only root and the daemon's own user may do this.")


def allowed(uid: int) -> bool:
    """Whether a caller who runs as `uid` is heard."""
    return uid in (0, os.geteuid())


def _line(connection: socket.socket, most: int, seconds: float) -> bytes:
    """One line of at most `most` bytes, all of it within `seconds`."""
    deadline = time.monotonic() + seconds
    found = bytearray()
    while not found.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0:
            raise Refused("control-timeout", f"No whole line came within {seconds:g} seconds.")
        connection.settimeout(left)
        try:
            chunk = connection.recv(65536)
        except TimeoutError:
            continue
        if not chunk:
            raise Refused("control-broken-off", "The other side hung up before the end of its line.")
        found += chunk
        if len(found) > most:
            raise Refused("control-oversize", f"A line has more than {most} bytes.")
    return bytes(found)


def _request(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused("control-malformed", "A request is one line with a JSON object.")
    return found
