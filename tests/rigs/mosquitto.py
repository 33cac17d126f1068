"""Debian's Mosquitto on a free port, with the settings we recommend for production."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.shell.access import mosquitto_hash

BINARY = Path("/usr/sbin/mosquitto")
EXAMPLE = Path(__file__).resolve().parents[2] / "config" / "mosquitto.example.conf"

needs_mosquitto = pytest.mark.skipif(not BINARY.exists(), reason="needs Debian's mosquitto")


class Mosquitto:
    """A broker that keeps its port and its store over `restart`; `url` is where it listens."""

    def __init__(
        self, directory: Path, passwords: str | None, acl: str | None, extra: str, port: int = 0
    ) -> None:
        self.directory = directory
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.url = f"mqtt://{self.host}:{self.port}"
        self._child: subprocess.Popen[bytes] | None = None
        (directory / "store").mkdir(parents=True, exist_ok=True)
        if passwords is not None:
            self.write(passwords, acl)
        lines = [self._shipped(passwords is not None, acl is not None)]
        if os.geteuid() == 0:
            lines.append("user root")  # it would give up the right to write its store here
        (directory / "mosquitto.conf").write_text("\n".join([*lines, extra]) + "\n")

    def _shipped(self, passwords: bool, acl: bool) -> str:
        """The configuration that we ship for production, on this rig's port and in its folder."""
        text = EXAMPLE.read_text("utf-8")
        for shipped, here in {
            "listener 1883 127.0.0.1": f"listener {self.port} {self.host}",
            "allow_anonymous false": f"allow_anonymous {'false' if passwords else 'true'}",
            "password_file /etc/mosquitto/soglia.passwords": f"password_file {self.directory}/passwords"
            if passwords
            else "",
            "acl_file /etc/mosquitto/soglia.acl": f"acl_file {self.directory}/acl" if acl else "",
            "persistence_location /var/lib/mosquitto/": f"persistence_location {self.directory}/store/",
            "log_dest syslog": "log_dest stderr",
        }.items():
            assert text.count(shipped) == 1, shipped
            text = text.replace(shipped, here)
        return text

    @property
    def pid(self) -> int:
        """The running broker's process."""
        assert self._child is not None
        return self._child.pid

    def write(self, passwords: str, acl: str | None) -> None:
        """Write the password and ACL files; `reload` or `start` makes them count."""
        (self.directory / "passwords").write_text(passwords)
        (self.directory / "passwords").chmod(0o600)
        if acl is not None:
            (self.directory / "acl").write_text(acl)
            (self.directory / "acl").chmod(0o600)

    def start(self) -> None:
        """Start it; returns when it accepts connections."""
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._child = subprocess.Popen(
                [BINARY, "-c", self.directory / "mosquitto.conf"], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.host, self.port), 1).close()
                return
            except OSError:
                if self._child.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((self.directory / "mosquitto.log").read_text()[-2000:]) from None
                time.sleep(0.01)

    def reload(self) -> None:
        """SIGHUP: passwords and ACLs are read again. Live connections are not checked again."""
        os.kill(self.pid, signal.SIGHUP)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it: SIGTERM saves the store, SIGKILL does not."""
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(20)
            self._child = None

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.stop()
        self.start()


@contextmanager
def mosquitto(
    directory: Path,
    users: Mapping[str, str] | None = None,
    *,
    passwords: str | None = None,
    acl: str | None = None,
    extra: str = "",
    port: int = 0,
) -> Iterator[Mosquitto]:
    """A running Mosquitto. `users` are names and passwords, or `passwords` is a whole password file; with
    neither, anybody may enter. `extra` is appended to the configuration."""
    if users is not None:
        passwords = "".join(f"{name}:{mosquitto_hash(word)}\n" for name, word in users.items())
    server = Mosquitto(directory, passwords, acl, extra, port)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
