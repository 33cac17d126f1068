"""How the gateway itself enters the broker: its password and its client ids.

The client ids are secret: brokers do not bind a client id to a user, so whoever guesses the ingest
session's id and connects with a clean session wipes the reads that wait in it. They are random, and kept,
because the waiting reads belong to the id.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import SogliaError


class LoginError(SogliaError):
    """The file with the gateway's client ids cannot be used."""


@dataclass(frozen=True, slots=True)
class ClientIds:
    """The ids of the two connections. Only `ingest` has a session that outlives a connection."""

    ingest: str
    alerts: str


@dataclass(frozen=True, slots=True)
class Login:
    """All that `MqttBroker` needs to enter. `repr` shows no password."""

    username: str
    password: str
    client_ids: ClientIds

    def __repr__(self) -> str:
        return f"Login(username={self.username!r})"


def client_ids(path: Path) -> ClientIds:
    """The client ids kept in `path` (JSON, mode 0600), made on first use.

    Raises:
        LoginError: `client-ids-unreadable` when the file is there and is not what we wrote.
    """
    try:
        fields = json.loads(path.read_text())
        return ClientIds(ingest=str(fields["ingest"]), alerts=str(fields["alerts"]))
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        raise LoginError(
            "client-ids-unreadable",
            f"{path} cannot be read: restore it, or delete it and lose the reads that wait in the broker.",
        ) from None
    made = ClientIds(
        ingest=f"soglia-in-{secrets.token_hex(16)}", alerts=f"soglia-out-{secrets.token_hex(16)}"
    )
    write_private(path, json.dumps({"ingest": made.ingest, "alerts": made.alerts}))
    return made


def write_private(path: Path, text: str) -> None:
    """Write a file only we can read (mode 0600), whole or not at all, and on the disk when this returns."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
