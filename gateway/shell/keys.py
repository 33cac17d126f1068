"""`keys.db`: the store's own secrets and the access tokens' hashes. Never in a backup or a replica.

| secret       | what it is                                                       |
|--------------|------------------------------------------------------------------|
| `credential` | HMAC key, 32 bytes: how credentials are stored in the directory  |
| `command`    | HMAC key, 32 bytes: the bodies of commands in receipts           |
| `cursor`     | HMAC key, 32 bytes: sync cursors                                 |
| `batch`      | Ed25519: signs sync batches                                      |
| `checkin`    | Ed25519: signs check-in tokens                                   |

All are made once, when the file is created. A file that anybody else can read, or that is damaged, is an
error and is never replaced by fresh secrets: that would orphan every credential without a word.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.core.errors import SogliaError

SECRETS = ("credential", "command", "cursor")
SIGNING = ("batch", "checkin")
LENGTH = 32
SCHEMA = 1

CREATE = """
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS tokens (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  scope TEXT NOT NULL,
  sha256 BLOB NOT NULL UNIQUE,
  bcrypt TEXT NOT NULL,
  pbkdf2 TEXT NOT NULL,
  issued_at TEXT NOT NULL,
  expires_at TEXT,
  revoked INTEGER NOT NULL DEFAULT 0
) STRICT;
"""


class KeysError(SogliaError):
    """The key file cannot be used; nothing is served before that is put right."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key pair. `key_id` is the first 16 hex digits of the SHA-256 of the raw public key."""

    key_id: str
    private: Ed25519PrivateKey
    public: Ed25519PublicKey

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """The pair that the 32 bytes `seed` stand for."""
        private = Ed25519PrivateKey.from_private_bytes(seed)
        public = private.public_key()
        return cls(hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16], private, public)


class Keys:
    """An open key file. Safe to use from any thread."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = threading.RLock()
        self._values: dict[str, bytes] = {}

    @classmethod
    def open(cls, path: Path) -> Keys:
        """Open `path`, or create it with mode 0600 and fresh secrets.

        Raises:
            KeysError: `keys-mode`, `keys-unreadable`, `keys-corrupt` or `keys-newer`.
        """
        _check_file(path)
        connection = None
        try:
            connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            keys = cls(connection, path)
            keys._prepare()
        except (sqlite3.Error, KeysError) as error:
            if connection is not None:
                connection.close()
            raise error if isinstance(error, KeysError) else _corrupt(path) from None
        return keys

    def secret(self, name: str) -> bytes:
        """The 32 bytes of the HMAC key `name`; `KeyError` for a name that is not in the table above."""
        if name not in SECRETS:
            raise KeyError(name)
        return self._values[name]

    def signing(self, name: str) -> SigningKey:
        """The Ed25519 key `name`; `KeyError` for a name that is not in the table above."""
        if name not in SIGNING:
            raise KeyError(name)
        return SigningKey.from_seed(self._values[name])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection, alone and inside one transaction, for what else lives in this file.

        Raises:
            KeysError: `keys-failed` when the file can no longer be read or written.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.rollback()
                    raise
                self._connection.commit()
            except sqlite3.Error:
                raise KeysError("keys-failed", f"{self._path} cannot be written: check the disk.") from None

    def version(self) -> int:
        """A number that changes when another process has written to the file."""
        with self._lock:
            try:
                return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
            except sqlite3.Error:
                raise KeysError("keys-failed", f"{self._path} cannot be read: check the disk.") from None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA busy_timeout=5000")
        execute("PRAGMA synchronous=FULL")
        execute("PRAGMA secure_delete=ON")
        if execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise _corrupt(self._path)
        version = execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA:
            raise KeysError(
                "keys-newer", f"{self._path} was written by a newer Soglia: install that one again."
            )
        if version < SCHEMA:
            self._create()
        self._values = dict(execute("SELECT name, value FROM secrets").fetchall())
        if any(len(self._values.get(name, b"")) != LENGTH for name in (*SECRETS, *SIGNING)):
            raise _corrupt(self._path)

    def _create(self) -> None:
        with self.transaction() as connection:
            for statement in filter(str.strip, CREATE.split(";")):
                connection.execute(statement)
            for name in (*SECRETS, *SIGNING):
                connection.execute(
                    "INSERT INTO secrets VALUES (?, ?) ON CONFLICT DO NOTHING",
                    (name, secrets.token_bytes(LENGTH)),
                )
            connection.execute(f"PRAGMA user_version={SCHEMA}")


def _check_file(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        raise KeysError("keys-unreadable", f"{path} cannot be opened: {error.strerror}.") from None
    if mode & 0o077:
        raise KeysError("keys-mode", f"{path} is open to others (mode {mode:o}): run chmod 600 on it.")


def _corrupt(path: Path) -> KeysError:
    return KeysError(
        "keys-corrupt",
        f"{path} is not a whole key file: move it aside and start anew, with new tokens and a new directory.",
    )
