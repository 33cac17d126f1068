"""What the command line can have done: the same functions in the running daemon and, without one, offline."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.core.codec import rfc3339
from gateway.core.errors import Refused
from gateway.core.model import Rules
from gateway.shell.access import bcrypt_hash, mosquitto_hash
from gateway.shell.control import Handler
from gateway.shell.keys import SigningKey
from gateway.shell.permissions import MqttUser, mosquitto_acl, mosquitto_passwords
from gateway.shell.scopes import Scope
from gateway.stores import Stores


class Mint(Protocol):
    """Signs a check-in token; `devices.decoders.tokens.mint` is one."""

    def __call__(
        self,
        key: Ed25519PrivateKey,
        kid: str,
        store: str,
        appointment: str,
        issued_at: datetime,
        expires_at: datetime,
        token_id: bytes,
    ) -> str: ...


class Operations:
    """`changed` is called after tokens have changed, so that the embedded broker hears of it."""

    def __init__(
        self, stores: Stores, store: str, rules: Rules, mint: Mint, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._stores = stores
        self._store = store
        self._rules = rules
        self._mint = mint
        self._changed = changed

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """By the name that goes over the control socket."""
        return {
            "token.issue": self.issue,
            "token.revoke": self.revoke,
            "token.list": self.tokens,
            "broker.export": self.export,
            "checkin": self.checkin,
        }

    def issue(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A new token for `scope`, valid `expires_seconds` (for ever without)."""
        now = self._stores.clock.now()
        seconds = asked.get("expires_seconds")
        expires = now + timedelta(seconds=float(seconds)) if seconds is not None else None
        issued = self._stores.access.issue(Scope.parse(str(asked.get("scope", ""))), expires, now)
        self._changed()
        return {
            "id": issued.id,
            "token": issued.token,
            "scope": str(issued.scope),
            "expires_at": rfc3339(expires) if expires else None,
        }

    def revoke(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The token with `id` is worth nothing from now on."""
        name = str(asked.get("id", ""))
        self._stores.access.revoke(name)
        self._changed()
        return {"id": name, "revoked": True}

    def tokens(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """All tokens, without their secrets."""
        return {
            "tokens": [
                {
                    "id": token.id,
                    "scope": str(token.scope),
                    "expires_at": rfc3339(token.expires_at) if token.expires_at else None,
                    "valid": token.valid(self._stores.clock.now()),
                }
                for token in self._stores.access.list()
            ]
        }

    def export(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Mosquitto's password and ACL files; the gateway's own user is `username` with `password`."""
        username, password = str(asked.get("username", "")), str(asked.get("password", ""))
        if not username or not password:
            raise Refused(
                "incomplete", "Set broker.username and broker.password_file: they are the gateway's own."
            )
        ours = MqttUser(username, None, bcrypt_hash(password), mosquitto_hash(password))
        users = [ours, *self._stores.access.mqtt_users(self._stores.clock.now())]
        return {"passwords": mosquitto_passwords(users), "acl": mosquitto_acl(self._store, users)}

    def checkin(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A check-in token for `appointment`, good until its lateness is too late."""
        name = str(asked.get("appointment", ""))
        body = self._stores.directory.body("appointment", name)
        if body is None:
            raise Refused("unknown-appointment", f"The directory has no appointment {name!r}.")
        now, end = self._stores.clock.now(), datetime.fromisoformat(body["end"])
        until = end + self._rules.late
        if body.get("status") == "cancelled" or until <= now:
            raise Refused(
                "appointment-over", f"Appointment {name} is cancelled or over: no code is made for it."
            )
        key: SigningKey = self._stores.keys.signing("checkin")
        token = self._mint(key.private, key.key_id, self._store, name, now, until, secrets.token_bytes(16))
        return {"appointment": name, "token": token, "expires_at": rfc3339(until)}
