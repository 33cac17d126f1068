"""Who may publish and read what: one table for every broker, and how each broker wants it written.

A client sees and writes only its own topics. In MQTT 3.1.1 a forbidden publish is acknowledged and dropped,
and a forbidden subscription is answered with 0x80, so a client learns the difference from its receipts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.core.errors import Refused
from gateway.core.model import is_id
from gateway.shell.scopes import Role, Scope

GATEWAY = "gateway"
ADMIN = "soglia-admin"
CANARY = "_canary"  # the reader whose reads prove that what goes in comes out
JS_API = "$JS.API.STREAM"
MQTT_STREAM = "$MQTT_msgs"


@dataclass(frozen=True, slots=True)
class MqttUser:
    """A broker's user. `scope` is None for the gateway itself; the hashes are of its password."""

    username: str
    scope: Scope | None
    bcrypt: str
    pbkdf2: str

    def __repr__(self) -> str:
        return f"MqttUser({self.username!r})"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Topic filters below the store's prefix, e.g. `clerks/marco/alerts`."""

    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()


OF_THE_GATEWAY = Permissions(
    publish=(
        "clerks/+/alerts",
        "clerks/+/receipts",
        "readers/+/receipts",
        "floor/alerts",
        "visits/+/state",
        "gateway/status",
        f"readers/{CANARY}/reads",
    ),
    subscribe=("readers/+/reads", "readers/+/status", "clerks/+/commands", "clerks/+/status"),
)


def prefix(store: str) -> str:
    """What every topic of a store begins with, e.g. `soglia/v1/milano-01`."""
    if not is_id(store):
        raise Refused("store-invalid", "The store's id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -.")
    return f"soglia/v1/{store}"


def permissions(scope: Scope | None) -> Permissions:
    """What a scope may do; None is the gateway."""
    if scope is None:
        return OF_THE_GATEWAY
    name = scope.name
    match scope.role:
        case Role.CLERK:
            own = (f"clerks/{name}/alerts", f"clerks/{name}/receipts")
            shared = ("floor/alerts", "gateway/status", "visits/+/state")
            return Permissions((f"clerks/{name}/commands", f"clerks/{name}/status"), own + shared)
        case Role.READER:
            return Permissions(_as_reader(name), (f"readers/{name}/receipts", "gateway/status"))
        case Role.KIOSK:
            seen = (f"readers/{name}/receipts", "gateway/status", "visits/+/state")
            return Permissions(_as_reader(name), seen)
        case Role.PLATFORM | Role.OPERATOR:
            return Permissions((), ("gateway/status", "readers/+/status"))


def _as_reader(name: str | None) -> tuple[str, ...]:
    return (f"readers/{name}/reads", f"readers/{name}/status")


def subject(topic: str) -> str:
    """An MQTT topic filter as nats-server writes it: `/` is `.`, `.` is `//`, `+` is `*`."""
    return topic.translate({ord("/"): ".", ord("."): "//", ord("+"): "*"})


@dataclass(frozen=True, slots=True)
class NatsSettings:
    """What the embedded broker's configuration depends on, apart from its users."""

    host: str
    mqtt_port: int
    websocket_port: int
    allowed_origins: tuple[str, ...]
    store_dir: str
    admin_bcrypt: str


def nats_config(server: NatsSettings, store: str, users: Sequence[MqttUser]) -> str:
    """nats-server's configuration: see the comments in it for why each limit is as it is."""
    quoted = json.dumps
    entries = "\n".join(_nats_user(user, store) for user in users)
    return f"""# Written by soglia at every start and whenever a token changes: do not edit.
server_name: "soglia-edge"
host: "127.0.0.1"
port: -1
max_payload: 72KB  # 64 KB of payload and room for a topic
max_connections: 512
write_deadline: "5s"
jetstream {{
  store_dir: {quoted(server.store_dir)}
  domain: "edge"  # from the first day: added later, all sessions are lost
  max_memory_store: 32MB
  max_file_store: 1GB
  sync_interval: "1s"
}}
mqtt {{
  host: {quoted(server.host)}
  port: {server.mqtt_port}
  ack_wait: "5s"
  max_ack_pending: 4096  # the default of 1,024 stalls a burst of reads
}}
websocket {{
  host: {quoted(server.host)}
  port: {server.websocket_port}
  no_tls: true
  same_origin: false
  allowed_origins: {quoted(list(server.allowed_origins))}
}}
system_account: SYS
accounts {{
  SYS {{ users: [] }}
  SOGLIA {{
    jetstream: enabled
    users: [
    {{ user: "{ADMIN}", password: {quoted(server.admin_bcrypt)}, allowed_connection_types: ["STANDARD"],
      permissions: {{ publish: ["{JS_API}.INFO.{MQTT_STREAM}", "{JS_API}.UPDATE.{MQTT_STREAM}"],
        subscribe: ["_INBOX.>"] }} }}
{entries}
    ]
  }}
}}
"""


def _nats_user(user: MqttUser, store: str) -> str:
    allowed = permissions(user.scope)
    return (
        f"    {{ user: {json.dumps(user.username)}, password: {json.dumps(user.bcrypt)},"
        f' allowed_connection_types: ["MQTT", "MQTT_WS"],\n'
        f"      permissions: {{ publish: {_subjects(allowed.publish, store)},"
        f" subscribe: {_subjects(allowed.subscribe, store)} }} }}"
    )


def _subjects(topics: Iterable[str], store: str) -> str:
    listed = [subject(f"{prefix(store)}/{topic}") for topic in topics]
    return json.dumps(listed) if listed else '{ deny: ">" }'


def mosquitto_passwords(users: Sequence[MqttUser]) -> str:
    """Mosquitto's password file, the gateway's line included if it is among `users`.

    Raises:
        Refused: `user-not-exportable` for an id with a colon, at which Mosquitto's file format would cut it.
    """
    if any(":" in user.username for user in users):
        raise Refused(
            "user-not-exportable",
            "Mosquitto's password file cannot hold an id with a colon: rename that clerk, reader or kiosk.",
        )
    return "".join(f"{user.username}:{user.pbkdf2}\n" for user in users)


def mosquitto_acl(store: str, users: Sequence[MqttUser]) -> str:
    """Mosquitto's ACL file. Nothing is granted outside a user's block, so an anonymous client has nothing."""
    return "\n".join(_mosquitto_user(user, store) for user in users)


def _mosquitto_user(user: MqttUser, store: str) -> str:
    allowed = permissions(user.scope)
    lines = [f"user {user.username}"]
    lines += [f"topic write {prefix(store)}/{topic}" for topic in allowed.publish]
    lines += [f"topic read {prefix(store)}/{topic}" for topic in allowed.subscribe]
    return "\n".join(lines) + "\n"
