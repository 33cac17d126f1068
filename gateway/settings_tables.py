"""One function for each table of the configuration file: it asks its keys, checks them and gives a value."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import itertools
import json
import os
import re
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

from gateway.core.model import Rules
from gateway.settings_model import Api, Broker, CalCom, Calendar, Platform, Store, Tokens
from gateway.toml_table import Table, closest, split_url

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
LOG_LEVELS = ("debug", "info", "warning", "error")
EMBEDDED = "embedded"
DAY_MINUTES = 24 * 60


def store(table: Table) -> Store:
    """`[store]`: which store, where, and when it is open."""
    id_ = table.id("id")
    store = Store(
        id=id_,
        name=table.text("name", id_ or "?"),
        time_zone=_time_zone(table),
        locale=table.text("locale", "it"),
        opening=_opening(table.table("opening")),
    )
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Z]{2})?", store.locale):
        table.note("locale", f'"{store.locale}" is not a language', 'write for example "it" or "it-IT"')
    table.finish()
    return store


def _time_zone(table: Table) -> str:
    name = table.text("time_zone")
    try:
        if name:
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        repair = closest(name, available_timezones(), 'write for example "Europe/Rome"')
        table.note("time_zone", f'there is no time zone "{name}"', repair)
    return name


def _opening(table: Table) -> dict[int, tuple[tuple[time, time], ...]]:
    found = {}
    for number, day in enumerate(WEEKDAYS):
        hours = table.texts(day)
        times = [time.fromisoformat(each) for each in hours if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", each)]
        if len(times) != len(hours) or len(times) % 2 or any(a >= b for a, b in itertools.pairwise(times)):
            table.note(
                day, "are not opening hours", 'write pairs in order: ["09:30", "13:00", "15:00", "19:30"]'
            )
        elif times:
            found[number] = tuple(zip(times[::2], times[1::2], strict=True))
    table.finish()
    return found


def data_dir(table: Table) -> Path:
    """`[data]`: where the three files are."""
    name = table.text("dir")
    path = table.notes.folder / name
    table.finish()
    if not name:
        return path
    there = path
    while (
        not os.path.lexists(there) and there != there.parent
    ):  # a folder we may not enter hides what is in it
        there = there.parent
    if not there.is_dir():
        table.note("dir", f"{there} is not a folder", "choose another place")
    elif not os.access(there, os.W_OK | os.X_OK):
        table.note(
            "dir", f"soglia may not write in {there}", "choose another place, or let its user own that folder"
        )
    return path


def broker(table: Table, api: Api) -> Broker:
    """`[broker]`: the embedded broker, or one by URL."""
    given = table.text("url", EMBEDDED)
    embedded = given == EMBEDDED
    url = None if embedded else table.url("url", ("mqtt", "mqtts"))
    broker = Broker(
        url=url,
        username=table.maybe_text("username"),
        password_file=table.file("password_file", secret=True),
        ca_file=table.file("ca_file"),
        host=_host(table),
        port=table.port("port") or 0,
        websocket_port=table.port("websocket_port"),
    )
    table.finish()
    unused = ("username", "password_file", "ca_file") if embedded else ("host", "port", "websocket_port")
    for key in unused:
        if key in table:
            other = "a broker elsewhere" if embedded else "the embedded broker"
            table.note(key, f"is only for {other}", "take it out, or change broker.url")
    if url and url.startswith("mqtt:") and broker.ca_file:
        table.note("ca_file", "is not used without TLS", "begin broker.url with mqtts://, or take it out")
    if url and (broker.username is None) != (broker.password_file is None) and "password_file" not in table:
        table.note("username", "has no password", "add password_file")
    _distinct_ports(table, broker, api)
    return broker


def _distinct_ports(table: Table, broker: Broker, api: Api) -> None:
    taken = {api.port: "api.port"}
    for key, port in (("port", broker.port), ("websocket_port", broker.websocket_port)):
        if port and port in taken:
            table.note(
                key, f"port {port} is already {taken[port]}", "choose another one, or 0 for any free port"
            )
        elif port:
            taken[port] = f"broker.{key}"


def _host(table: Table) -> str:
    host = table.text("host", "127.0.0.1")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
        if not re.fullmatch(name, host):
            table.note(
                "host",
                f'"{host}" is not an address to listen on',
                'write for example "127.0.0.1" or "0.0.0.0"',
            )
    return host


def api(table: Table) -> Api:
    """`[api]`: where the API listens, and under which name it is reached."""
    api = Api(
        host=_host(table),
        port=table.port("port") or 0,
        public_url=(table.url("public_url", ("https", "http")) or "").rstrip("/") or None,
        tls_cert_file=table.file("tls_cert_file"),
        tls_key_file=table.file("tls_key_file", secret=True),
    )
    table.finish()
    for one, other in (("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")):
        if one in table and other not in table:
            table.note(one, f"does nothing without {other}", f"add {other}, or take it out")
    return api


def rules(matching: Table, escalation: Table, store: Store) -> Rules:
    """`[matching]` and `[escalation]`: the store's times."""
    standard = Rules()

    def minutes(key: str, default: timedelta) -> timedelta:
        return timedelta(minutes=matching.number(key, default.total_seconds() / 60, DAY_MINUTES))

    def seconds(key: str, default: timedelta) -> timedelta:
        return timedelta(seconds=escalation.number(key, default.total_seconds(), DAY_MINUTES * 60))

    found = Rules(
        window=minutes("window_minutes", standard.window),
        late=minutes("late_minutes", standard.late),
        rescan=minutes("rescan_minutes", standard.rescan),
        delivered=seconds("delivered_seconds", standard.delivered),
        backup=seconds("backup_seconds", standard.backup),
        pool=seconds("pool_seconds", standard.pool),
        manager=seconds("manager_seconds", standard.manager),
        store=store.id,
        time_zone=store.time_zone,
    )
    matching.finish()
    escalation.finish()
    steps = ("delivered", "backup", "pool", "manager")
    for sooner, later in itertools.pairwise(steps):
        first, then = getattr(found, sooner).total_seconds(), getattr(found, later).total_seconds()
        if first >= then:
            problem = f"{then:g} s is not later than {sooner}_seconds, {first:g} s"
            escalation.note(f"{later}_seconds", problem, f"each step waits longer: {' < '.join(steps)}")
    return found


def calendar(table: Table) -> Calendar:
    """One of `[[calendars]]`: an iCalendar feed and whose it is."""
    calendar = Calendar(
        path=table.file("path"),
        url=table.url("url", ("https", "http", "webcal")),
        clerk=table.id("clerk"),
        every=timedelta(seconds=table.number("every_seconds", 300, DAY_MINUTES * 60)),
    )
    if ("path" in table) == ("url" in table):
        has = "both path and url" if "url" in table else "neither path nor url"
        table.notes.add(table.path, f"has {has}", "give exactly one of them")
    table.finish()
    return calendar


def calcom(webhooks: Table) -> CalCom | None:
    """`[webhooks.calcom]`, if it is there."""
    table = webhooks.table("calcom")
    webhooks.finish()
    if "calcom" not in webhooks:
        return None
    file = table.file("secret_file", secret=True)
    if "secret_file" not in table:
        table.note("secret_file", "is missing", "put the webhook's secret in a file and name it here")
    clerks = table.table("clerks").people()
    table.finish()
    return CalCom(file or Path(), clerks)


def platform(table: Table) -> Platform | None:
    """`[platform]`, if it is there."""
    url = table.url("url", ("https", "http"))
    token_file = table.file("token_file", secret=True)
    table.finish()
    if "token_file" in table and "url" not in table:
        table.note("token_file", "does nothing without url", "add the platform's url, or take it out")
    return Platform(url.rstrip("/"), token_file) if url else None


def tokens(table: Table, public_url: str | None) -> Tokens:
    """`[tokens]`: which check-in tokens are believed."""
    file = table.file("trusted_keys_file")
    keys = _trusted_keys(table, file) if file else {}
    hosts = frozenset(each.lower() for each in table.texts("hosts"))
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*(:\d{1,5})?", host):
            table.note(
                "hosts", f'"{host}" is not a host', 'write for example "shop.example", without https://'
            )
    table.finish()
    return Tokens(keys, hosts | _public_host(public_url))


def _public_host(public_url: str | None) -> set[str]:
    parts = split_url(public_url) if public_url else None
    if parts is None or not parts.hostname:
        return set()
    return {parts.hostname if parts.port in (None, 443) else f"{parts.hostname}:{parts.port}"}


def _trusted_keys(table: Table, file: Path) -> dict[str, bytes]:
    repair = 'write {"key id": "base64url of the raw Ed25519 public key"}'
    try:
        found = json.loads(file.read_bytes())
        keys = {
            kid: base64.b64decode(text + "=" * (-len(text) % 4), b"-_", True) for kid, text in found.items()
        }
    except (ValueError, TypeError, AttributeError, binascii.Error):
        table.note("trusted_keys_file", f"{file} does not hold public keys", repair)
        return {}
    for kid, key in keys.items():
        if len(key) != 32:
            problem = f'key "{kid}" in {file} has {len(key)} bytes instead of 32'
            table.note("trusted_keys_file", problem, repair)
    return keys


def log_level(table: Table) -> str:
    """`[log]`: how much is written down."""
    level = table.choice("level", LOG_LEVELS, "info")
    table.finish()
    return level
