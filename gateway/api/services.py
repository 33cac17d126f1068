"""What the API needs of the rest of the gateway, as narrow seams. `bootstrap` fills them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from gateway.core.commands import Command
from gateway.core.errors import LogError
from gateway.core.model import Finding, Read, Rules
from gateway.core.receipts import Receipt
from gateway.core.state import State
from gateway.shell.log import EventLog


class Engine(Protocol):
    """The one place where state changes."""

    @property
    def state(self) -> State:
        """The committed state: immutable, safe to read from any thread."""
        ...

    def submit(self, command: Command, said: bytes) -> Future[Receipt]:
        """Decide and commit `command`; `said` is the canonical form of what the caller said.

        The future resolves after the commit. A full inbox gives a receipt `refused`/`busy` at once.
        """
        ...

    def on_commit(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` (from the engine's thread; must not block) after each commit; returns the way to stop it."""
        ...


class Directory(Protocol):
    """What the pages show of people, appointments and products."""

    def body(self, kind: str, id: str) -> dict[str, Any] | None: ...  # noqa: A002 the record's own word

    def agenda(self, start: datetime, end: datetime) -> list[dict[str, Any]]: ...

    def search_visitors(self, name: str, limit: int) -> list[dict[str, Any]]: ...

    def find_visitor(self, visitor: str, day: tuple[datetime, datetime]) -> Finding: ...

    def audit(self, *, who: str, action: str, whose: str | None, why: str | None, at: datetime) -> None: ...


class Grant(Protocol):
    """A verified bearer token."""

    @property
    def role(self) -> str:
        """`platform`, `operator`, `clerk`, `reader` or `kiosk`."""
        ...

    @property
    def name(self) -> str | None:
        """The clerk's, reader's or kiosk's id."""
        ...


class Outbox(Protocol):
    """The platform's side of the log."""

    def pull(self, after: str | None, limit: int) -> Mapping[str, Any]:
        """A batch as in the contract.

        Raises:
            Refused: `cursor-invalid` (400) or `cursor-of-another-epoch` (409).
        """
        ...

    def acknowledge(self, cursor: str) -> Future[int]:
        """Resolves to the acknowledged seq after the commit.

        Raises:
            Refused: as `pull`.
        """
        ...

    def keys(self) -> Mapping[str, Any]:
        """`{"keys": [{"key_id", "algorithm": "Ed25519", "public_key": base64url}]}`."""
        ...


@dataclass(frozen=True)
class Health:
    """`ready` says whether the gateway can do its main job now; `checks` tell each part in plain words."""

    ready: bool
    checks: Mapping[str, str]


@dataclass(frozen=True)
class Services:
    """Everything the routes call."""

    store: str
    store_name: str
    rules: Rules
    now: Callable[[], datetime]
    log: EventLog
    engine: Engine
    directory: Directory
    outbox: Outbox
    verify_token: Callable[[str], Grant]
    """Raises `Refused`: token-unknown, token-expired, token-revoked."""
    read: Callable[[Read], Future[Receipt]]
    """A read into the same pipeline as every other one."""
    decode_picture: Callable[[bytes], Sequence[tuple[str, str]]]
    """The QR codes in a picture as (symbology, text). Raises `DecodeError`."""
    put_directory: Callable[[Sequence[bytes]], Mapping[str, Any]]
    """NDJSON lines in; the contract's answer out. Blocks; call it in a thread."""
    hooks: Mapping[str, Callable[[bytes, Mapping[str, str]], Mapping[str, Any]]]
    """By name (`calcom`): raw body and lower-case headers in, answer out. Blocks. Raises `Refused`."""
    health: Callable[[], Health]
    metrics: Callable[[], str]
    """Prometheus text."""
    allowed_hosts: frozenset[str]
    zones: Mapping[str, str]
    """Zone id to the name people use."""
    on_fatal: Callable[[LogError], None] = lambda error: None
    """Our own disk failed under a request: the process has to end."""
