"""One run of nats-server: the child, what it says, and how it ends.

The kernel kills the child when the thread that spawned it ends (PR_SET_PDEATHSIG), so that it never outlives
a gateway that was killed. **That thread must therefore live as long as the child**: `NatsServer` is spawned,
read and waited for by one thread, the supervisor's.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path

from gateway.core.errors import PeerError

GRACE_SECONDS = 10.0  # with many consumers a clean end takes up to 7 s
LOG_BYTES = 1_000_000

# Runs in a fresh interpreter, since a forked Python with threads may hang before it gets to exec.
LAUNCH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, ctypes.c_ulong(9))
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""

log = logging.getLogger("soglia.broker")


def find_server() -> Path:
    """The nats-server that came with its wheel, never one from PATH.

    Raises:
        PeerError: `broker-binary-missing`.
    """
    places = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    if "posix_user" in sysconfig.get_scheme_names():
        places.append(Path(sysconfig.get_path("scripts", "posix_user")))
    for place in places:
        if os.access(place / "nats-server", os.X_OK):
            return place / "nats-server"
    raise PeerError(
        "broker-binary-missing",
        "There is no embedded broker on this platform: install Mosquitto and set broker.url to it.",
    )


def check_config(server: Path, config: Path) -> None:
    """Let the server read `config` without running it.

    Raises:
        PeerError: `broker-config-invalid`.
    """
    done = subprocess.run(
        [server, "-t", "-c", config], capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PeerError("broker-config-invalid", f"The embedded broker refuses its configuration: {said}.")


class BoundedLog:
    """A text file of at most `LOG_BYTES`, and the one before it (`.1`), both mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        """Append a line."""
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
            file.write(line)
            full = file.tell() >= LOG_BYTES
        if full:
            self._path.replace(self._path.with_name(self._path.name + ".1"))


class NatsServer:
    """A running server. `read` must be called by the thread that made it, and ends when the server ends."""

    def __init__(self, server: Path, config: Path, lock: int, said: BoundedLog) -> None:
        """`lock` is the descriptor of the data directory's lock: the child keeps it locked while it lives."""
        self._said = said
        self._reloads = threading.Condition()
        self._reloaded: list[bool] = []
        self.client_port: int | None = None
        self.last_complaint = ""
        self.serving = False
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", LAUNCH, str(os.getpid()), str(server), "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C in a terminal is for the gateway, which ends the broker last
        )
        self.pid = self._child.pid

    def until_ready(self) -> bool:
        """Read until the server listens for MQTT; False when it ended instead."""
        mqtt = False
        for line in self._lines():
            mqtt = mqtt or "Listening for MQTT clients on" in line
            if found := re.search(r"Listening for client connections on .*:(\d+)$", line.rstrip()):
                self.client_port = int(found[1])
            if mqtt and "Server is ready" in line:
                return True
        return False

    def until_end(self) -> int:
        """Read until the server has ended; its exit code."""
        for line in self._lines():
            if "Reloaded server configuration" in line or "Failed to reload" in line:
                with self._reloads:
                    self._reloaded.append("Failed" not in line)
                    self._reloads.notify_all()
        code = self._child.wait()
        if self._child.stderr is not None:
            self._child.stderr.close()
        with self._reloads:
            self._reloads.notify_all()
        return code

    def poke(self) -> None:
        """Have it read its configuration again, without waiting until it has."""
        self._child.send_signal(signal.SIGHUP)

    def reload(self, seconds: float = 10.0) -> None:
        """Have the server read its configuration again, from any thread; returns when it is in force.

        Raises:
            PeerError: `broker-reload-failed`: the old configuration serves on.
        """
        with self._reloads:
            before = len(self._reloaded)
            self.poke()
            answered = self._reloads.wait_for(
                lambda: len(self._reloaded) > before or self._child.returncode is not None, seconds
            )
            fine = answered and (len(self._reloaded) == before or self._reloaded[-1])
        if not fine:
            raise PeerError(
                "broker-reload-failed", "The embedded broker did not take its new users: see its log."
            )

    def end(self, grace: float = GRACE_SECONDS) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns when the server has ended, from any thread."""
        if grace > 0:
            self._child.terminate()
            try:
                self._child.wait(grace)
                return
            except subprocess.TimeoutExpired:
                log.warning("the embedded broker did not end within %d s and is killed", grace)
        self._child.kill()
        self._child.wait()

    def _lines(self) -> Iterator[str]:
        stream = self._child.stderr
        while stream is not None and (line := stream.readline()):
            self._said.write(line)
            if "[ERR]" in line or "[FTL]" in line or line.startswith("nats-server:"):
                self.last_complaint = line.strip().rpartition("] ")[2]
            yield line
