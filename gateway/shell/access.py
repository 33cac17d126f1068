"""Bearer tokens: issued once, shown once, stored only as hashes.

A token is 32 random bytes in base64url (43 characters), so that a fast hash guards it as well as a slow one.
Three hashes are kept because three programs check it: SHA-256 for HTTP, bcrypt (cost 4) for the embedded
broker, Mosquitto's own PBKDF2-SHA512 for the export. On MQTT one user name has one password: **the newest
valid token of a scope is the MQTT password; over HTTP every valid token of the scope works.** A token that
expires or is revoked stops on HTTP at once and on MQTT when the broker's users are written again, which is
due at every change and at `next_expiry`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime

import bcrypt

from gateway.core.errors import Refused
from gateway.shell.keys import Keys
from gateway.shell.permissions import MqttUser
from gateway.shell.scopes import Role, Scope

__all__ = ["Access", "Grant", "Issued", "Role", "Scope", "Token", "mosquitto_hash"]

BCRYPT_COST = 4  # the broker checks every live connection again at each reload: cost 10 takes 5 s for 60
MOSQUITTO_ITERATIONS = 101  # Mosquitto's default; the token is random, so stretching adds nothing


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh token: the only time it is seen. `repr` does not show it."""

    id: str
    token: str
    scope: Scope
    expires_at: datetime | None

    def __repr__(self) -> str:
        return f"Issued(id={self.id!r}, scope={str(self.scope)!r}, expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a valid token allows: `id` names the token, for the audit."""

    id: str
    scope: Scope


@dataclass(frozen=True, slots=True)
class Token:
    """A token as an operator may see it: never the token itself nor a hash."""

    id: str
    scope: Scope
    issued_at: datetime
    expires_at: datetime | None
    revoked: bool

    def valid(self, at: datetime) -> bool:
        """Whether it opens anything at `at`; not any more at `expires_at` itself."""
        return not self.revoked and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True, slots=True)
class _Stored:
    token: Token
    digest: bytes
    bcrypt: str
    pbkdf2: str


class Access:
    """The tokens in a key file. Safe to use from any thread; a change is in force when the call returns."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._lock = threading.Lock()
        self._version = -1
        self._stored: tuple[_Stored, ...] = ()
        self._by_digest: dict[bytes, _Stored] = {}

    def issue(self, scope: Scope, expires_at: datetime | None, at: datetime) -> Issued:
        """A new token. The scope's earlier ones go on over HTTP, and no longer over MQTT.

        Raises:
            Refused: `expiry-past` when it would be expired already.
        """
        if expires_at is not None and expires_at <= at:
            raise Refused("expiry-past", "The token would have expired already: give a later expiry.")
        token = secrets.token_urlsafe(32)
        issued = Issued(f"tok-{secrets.token_hex(8)}", token, scope, expires_at)
        with self._keys.transaction() as connection:
            connection.execute(
                "INSERT INTO tokens (id, scope, sha256, bcrypt, pbkdf2, issued_at, expires_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    issued.id,
                    str(scope),
                    _digest(token),
                    bcrypt_hash(token),
                    mosquitto_hash(token),
                    _text(at),
                    None if expires_at is None else _text(expires_at),
                ),
            )
        self._forget()
        return issued

    def revoke(self, id: str) -> None:  # noqa: A002 (the word the contract uses)
        """The token opens nothing from now on. Revoking it again changes nothing.

        Raises:
            Refused: `token-unknown` when no token has this id.
        """
        with self._keys.transaction() as connection:
            changed = connection.execute("UPDATE tokens SET revoked = 1 WHERE id = ?", (id,)).rowcount
        self._forget()
        if changed == 0:
            raise Refused("token-unknown", "No token has this id: see the list of tokens.")

    def verify(self, token: str, at: datetime) -> Grant:
        """Who the bearer is.

        Raises:
            Refused: `token-unknown`, `token-revoked` or `token-expired`.
        """
        digest = _digest(token)
        stored = self._load()[1].get(digest)
        if stored is None or not hmac.compare_digest(stored.digest, digest):
            raise Refused("token-unknown", "This token is not one of ours: ask for a new one.")
        if stored.token.revoked:
            raise Refused("token-revoked", "This token was revoked: ask for a new one.")
        if not stored.token.valid(at):
            raise Refused("token-expired", "This token has expired: ask for a new one.")
        return Grant(stored.token.id, stored.token.scope)

    def list(self) -> tuple[Token, ...]:
        """All tokens, oldest first, the revoked and expired ones too."""
        return tuple(stored.token for stored in self._load()[0])

    def mqtt_users(self, at: datetime) -> tuple[MqttUser, ...]:
        """The brokers' users at `at`: one per scope with a valid token, the newest being its password."""
        newest = {stored.token.scope: stored for stored in self._load()[0] if stored.token.valid(at)}
        return tuple(
            MqttUser(scope.username, scope, stored.bcrypt, stored.pbkdf2)
            for scope, stored in sorted(newest.items(), key=lambda item: item[0].username)
        )

    def next_expiry(self, at: datetime) -> datetime | None:
        """When the next valid token expires: write the brokers' users again then."""
        ends = [s.token.expires_at for s in self._load()[0] if s.token.valid(at) and s.token.expires_at]
        return min(ends, default=None)

    def _forget(self) -> None:
        with self._lock:
            self._version = -1

    def _load(self) -> tuple[tuple[_Stored, ...], dict[bytes, _Stored]]:
        version = (
            self._keys.version()
        )  # a second process may have written: `soglia token revoke` with no daemon
        with self._lock:
            if version != self._version:
                with self._keys.transaction() as connection:
                    rows = connection.execute(
                        "SELECT id, scope, issued_at, expires_at, revoked, sha256, bcrypt, pbkdf2"
                        " FROM tokens ORDER BY number"
                    ).fetchall()
                self._stored = tuple(_stored(*row) for row in rows)
                self._by_digest = {stored.digest: stored for stored in self._stored}
                self._version = version
            return self._stored, self._by_digest


def bcrypt_hash(password: str) -> str:
    """For the embedded broker: bcrypt of at most 72 bytes."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(BCRYPT_COST)).decode()


def mosquitto_hash(password: str) -> str:
    """`$7$iterations$salt$hash`, PBKDF2-SHA512, as `mosquitto_passwd` of Mosquitto 2 writes it."""
    salt = os.urandom(12)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, MOSQUITTO_ITERATIONS)
    return f"$7${MOSQUITTO_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat()


def _stored(
    id_: str,
    scope: str,
    issued: str,
    expires: str | None,
    revoked: int,
    digest: bytes,
    crypt: str,
    pbkdf2: str,
) -> _Stored:
    ends = None if expires is None else datetime.fromisoformat(expires)
    token = Token(id_, Scope.parse(scope), datetime.fromisoformat(issued), ends, bool(revoked))
    return _Stored(token, digest, crypt, pbkdf2)
