"""A cable that can be cut: a TCP relay on a port of its own in front of a server."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading


class Link:
    """Relays to `port` on loopback. `cut` resets every connection and refuses new ones until `heal`;
    `hold` lets nothing through in either direction, as a server does that hangs."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._flowing = threading.Event()
        self._flowing.set()
        self._lock = threading.Lock()
        self._refusing = self._closed = False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def hold(self) -> None:
        """Let nothing through."""
        self._flowing.clear()

    def cut(self) -> None:
        """Reset every connection, and refuse new ones."""
        with self._lock:
            self._refusing = True
            doomed = list(self._open)
        for sock in doomed:
            _reset(sock)
        self._flowing.set()

    def heal(self) -> None:
        """Relay again."""
        self._flowing.set()
        with self._lock:
            self._refusing = False

    def close(self) -> None:
        """Take the relay away."""
        self._closed = True
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                far = None if self._refusing else self._dial()
                if far is None:
                    _reset(near)
                    near.close()
                    continue
                near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open |= {near, far}
            thread = threading.Thread(target=self._relay, args=(near, far), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _dial(self) -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            return None

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)
            while piece := source.recv(65536):
                self._flowing.wait()
                sink.sendall(piece)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RDWR)
