"""`soglia run`: load, start, print where we are, and stay until a signal or a failed disk ends us."""

from __future__ import annotations

import json
import logging
import secrets
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from devices import registry
from devices.decoders.tokens import mint
from gateway import showcase
from gateway.bootstrap import Addresses, Gateway
from gateway.core.errors import LogError
from gateway.settings import load
from gateway.settings_model import Settings
from gateway.shell.scopes import Scope
from gateway.stores import open_stores

_DEMO_SCOPES = ("clerk:marco", "clerk:giulia", "clerk:sara", "platform", "operator")

log = logging.getLogger("soglia")


def run(config: Path, as_json: bool) -> int:
    """Run the gateway of a configuration until SIGTERM or SIGINT; the exit code.

    Raises:
        ConfigError: with everything that is wrong.
        SogliaError: a part cannot start.
    """
    return _serve(_load(config), as_json, [])


def run_demo(folder: Path, as_json: bool) -> int:
    """Run the demo store on a fresh working copy in `folder`.

    Raises:
        SogliaError: as `run`.
    """
    settings = _load(showcase.copy_to(folder))
    tokens = _furnish(settings, folder)
    return _serve(settings, as_json, tokens)


def _serve(settings: Settings, as_json: bool, tokens: Sequence[tuple[str, str]]) -> int:
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.root.level))  # its comings and goings
    ended = threading.Event()
    failures: list[LogError] = []

    def on_fatal(error: LogError) -> None:
        failures.append(error)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    gateway = Gateway(settings, on_fatal)
    addresses = gateway.start()
    _say(addresses, tokens, settings, as_json)
    ended.wait()
    gateway.stop()
    for error in failures[:1]:
        print(f"soglia: {error.detail} [{error.reason}]", file=sys.stderr)
    return 1 if failures else 0


def _say(addresses: Addresses, tokens: Sequence[tuple[str, str]], settings: Settings, as_json: bool) -> None:
    if as_json:
        told = {"api": addresses.api, "mqtt": addresses.mqtt, "tokens": dict(tokens)}
        print(json.dumps(told), flush=True)
        return
    lines = [
        f"{settings.store.name} ({settings.store.id}) is open.",
        f"  API and pages   {addresses.api}",
        f"  MQTT            {addresses.mqtt}",
    ]
    if tokens:
        lines += ["", "Open a clerk's page; the first visitor walks in within ten seconds:"]
        lines += [
            f"  {scope.removeprefix('clerk:'):<15} {addresses.api}/clerk/sign-in#{token}"
            for scope, token in tokens
            if scope.startswith("clerk:")
        ]
        lines += ["Tokens for the API:", *(f"  {s:<15} {t}" for s, t in tokens if not s.startswith("clerk:"))]
    print("\n".join([*lines, "", "Ctrl-C closes the shop."]), flush=True)


def _furnish(settings: Settings, folder: Path) -> list[tuple[str, str]]:
    """The demo's directory, its readers' scripts and a token for everybody; gives (scope, token)."""
    stores = open_stores(settings)
    try:
        now = stores.clock.now()
        stores.directory.put_records(showcase.records(now), "demo", now)
        key, store = stores.keys.signing("checkin"), settings.store.id

        def sign(appointment: str, *, expired: bool) -> str:
            until = now - timedelta(minutes=5) if expired else now + timedelta(hours=4)
            issued = until - timedelta(hours=8)
            return mint(key.private, key.key_id, store, appointment, issued, until, secrets.token_bytes(16))

        showcase.write_scripts(folder, sign)
        return [(s, stores.access.issue(Scope.parse(s), None, now).token) for s in _DEMO_SCOPES]
    finally:
        stores.close()


def _load(config: Path) -> Settings:
    return load(config, registry.check, registry.types())
