"""The settings as values: one class for each table of the configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path

from gateway.core.model import Rules


@dataclass(frozen=True, slots=True)
class Store:
    """The shop. `opening` gives each weekday (0 is Monday) its stretches; a day that is absent is closed."""

    id: str
    name: str
    time_zone: str
    locale: str
    opening: Mapping[int, tuple[tuple[time, time], ...]]


@dataclass(frozen=True, slots=True)
class Broker:
    """`url` of None means the embedded broker, which listens on `host`; port 0 is chosen once and kept, and
    a `websocket_port` of None is such a port as well."""

    url: str | None
    username: str | None
    password_file: Path | None
    ca_file: Path | None
    host: str
    port: int
    websocket_port: int | None


@dataclass(frozen=True, slots=True)
class Api:
    """Port 0 is any free one. `public_url` is how phones and tablets reach us, without a slash at its end."""

    host: str
    port: int
    public_url: str | None
    tls_cert_file: Path | None
    tls_key_file: Path | None


@dataclass(frozen=True, slots=True)
class Zone:
    """A part of the shop. `adjacent` goes both ways, whichever side the file wrote it on."""

    id: str
    name: str
    adjacent: frozenset[str]
    doorway: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """A device. `options` are its type's keys as written, but a `path` to a file beside the configuration is
    absolute here."""

    id: str
    type: str
    zone: str
    options: Mapping[str, object]

    @property
    def table(self) -> dict[str, object]:
        """The whole `[[readers]]` table, as the device registry takes it."""
        return {"id": self.id, "type": self.type, "zone": self.zone, **self.options}


@dataclass(frozen=True, slots=True)
class Calendar:
    """An iCalendar feed of one clerk: a file or an address, looked at `every`."""

    path: Path | None
    url: str | None
    clerk: str
    every: timedelta


@dataclass(frozen=True, slots=True)
class CalCom:
    """cal.com's webhook: the secret it signs with, and which organiser's address is which clerk."""

    secret_file: Path
    clerks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Platform:
    """The central platform to poll."""

    url: str
    token_file: Path | None


@dataclass(frozen=True, slots=True)
class Tokens:
    """Who else may sign check-in tokens (key id to raw Ed25519 public key), and the hosts that links in tags
    and QR codes may have. The host of `api.public_url` is always one of them."""

    trusted_keys: Mapping[str, bytes]
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file, checked. `data_dir` need not exist yet."""

    path: Path
    store: Store
    data_dir: Path
    broker: Broker
    api: Api
    rules: Rules
    zones: tuple[Zone, ...]
    readers: tuple[Reader, ...]
    calendars: tuple[Calendar, ...]
    calcom: CalCom | None
    platform: Platform | None
    tokens: Tokens
    log_level: str

    @property
    def folder(self) -> Path:
        """What relative paths in the file are relative to."""
        return self.path.parent
