"""uvicorn, so that a bound port is known before it serves and a stop does not wait for open streams."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from gateway.api.live import Live

GRACE_SECONDS = 5
_KEEP_ALIVE_SECONDS = 30
_CONNECTIONS = 500


class _Uvicorn(uvicorn.Server):
    """Ends streams and long polls first: uvicorn itself would wait for them."""

    def __init__(self, config: uvicorn.Config, live: Live, running: threading.Event) -> None:
        super().__init__(config)
        self._live = live
        self._running = running

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._running.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._live.close()
        await super().shutdown(sockets=sockets)


class Server:
    """A server on a socket that is bound already: `url` and `port` are true from the start."""

    def __init__(self, app: FastAPI, bound: socket.socket, tls: tuple[Path, Path] | None = None) -> None:
        self._socket = bound
        self._thread: threading.Thread | None = None
        self._running = threading.Event()
        host, self.port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{shown}:{self.port}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_certfile=tls[0] if tls else None,
            ssl_keyfile=tls[1] if tls else None,
            ws="none",
            lifespan="on",
        )
        config.load()  # a certificate that cannot be read is the caller's to hear of
        self._uvicorn = _Uvicorn(config, app.state.live, self._running)

    def run(self) -> None:
        """Serve in this thread until `stop`; in the main thread also until SIGTERM or SIGINT."""
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._running.set()
            self._socket.close()

    def start(self) -> None:
        """Serve in a thread of its own; returns when requests are answered.

        Raises:
            RuntimeError: it ended before it could answer; the log says why.
        """
        self._thread = threading.Thread(target=self.run, name="http", daemon=True)
        self._thread.start()
        self._running.wait()
        if not self._uvicorn.started:
            self._thread.join()
            raise RuntimeError("the HTTP server could not start")

    def stop(self) -> None:
        """End every stream and connection, and the thread. Safe to call from any thread, and twice."""
        self._uvicorn.should_exit = True
        if self._thread is None and not self._running.is_set():
            self._socket.close()  # never served
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()


def serve(app: FastAPI, host: str, port: int, tls: tuple[Path, Path] | None = None) -> Server:
    """Bind (port 0: any free one); then call `start` or `run`. `tls` is (certificate, key).

    Raises:
        OSError: the address cannot be bound, or the certificate not be read.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(1024)
    except BaseException:
        bound.close()
        raise
    try:
        return Server(app, bound, tls)
    except BaseException:
        bound.close()
        raise
