"""The command line. Exit 0: done; 1: refused or failed, with the reason; 2: unusable arguments or configuration."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway import __version__
from gateway.core.errors import SogliaError
from gateway.settings_model import Settings

DEMO_DIR = Path(".demo")

_SPANS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    chosen = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = chosen.run
    from gateway.settings import ConfigError

    try:
        return run(chosen)
    except ConfigError as error:
        if chosen.json:
            print(
                json.dumps({"problems": [asdict(problem) for problem in error.problems]}, ensure_ascii=False)
            )
        for line in error.lines(Path(chosen.config or chosen.file).name):
            print(line, file=sys.stderr)
        return 2
    except SogliaError as error:
        return _fail(error, chosen.json)
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soglia", description="The in-store edge gateway.")
    parser.add_argument("--version", action="version", version=f"soglia {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = _add(commands, "run", _run, "start the gateway", config=False)
    which = run.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", help="the store's configuration")
    which.add_argument("--demo", action="store_true", help="a whole small store, with simulated readers")
    run.add_argument("--dir", type=Path, default=DEMO_DIR, help="where the demo's working copy goes")

    config = commands.add_parser("config", help="look at a configuration").add_subparsers(required=True)
    check = _add(config, "check", _config_check, "say everything that is wrong with it", config=False)
    check.add_argument("file", metavar="FILE")
    check.set_defaults(config=None)

    token = commands.add_parser("token", help="access tokens").add_subparsers(required=True)
    issue = _add(token, "issue", _token_issue, "make one; it is shown once")
    issue.add_argument("--scope", required=True, help="platform, operator, clerk:ID, reader:ID or kiosk:ID")
    issue.add_argument("--expires", type=_span, metavar="SPAN", help="e.g. 30d, 12h; for ever without")
    revoke = _add(token, "revoke", _token_revoke, "make one worthless")
    revoke.add_argument("id")
    _add(token, "list", _token_list, "list them, without their secrets")

    qr = _add(commands, "qr", _qr, "the check-in code of an appointment")
    qr.add_argument("appointment")
    to = qr.add_mutually_exclusive_group()
    to.add_argument("--png", type=Path, metavar="FILE")
    to.add_argument("--svg", type=Path, metavar="FILE")

    _add(commands, "replay", _replay, "rebuild the state from the log and print its digest")
    _add(commands, "verify", _verify, "check the log's hash chain")
    explain = _add(commands, "explain", _explain, "why this visitor, this appointment, this clerk")
    explain.add_argument("visit")

    broker = commands.add_parser("broker", help="the MQTT broker").add_subparsers(required=True)
    export = _add(broker, "export", _broker_export, "write Mosquitto's password and ACL files")
    export.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="default: here")
    return parser


def _add(
    group: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, config: bool = True
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="for machines")
    if config:
        parser.add_argument("--config", required=True, metavar="FILE", help="the store's configuration")
    parser.set_defaults(run=run)
    return parser


def _run(chosen: argparse.Namespace) -> int:
    from gateway import daemon

    return (
        daemon.run_demo(chosen.dir, chosen.json)
        if chosen.demo
        else daemon.run(Path(chosen.config), chosen.json)
    )


def _config_check(chosen: argparse.Namespace) -> int:
    settings = _settings(chosen.file)
    told = {"file": chosen.file, "store": settings.store.id, "readers": len(settings.readers), "problems": []}
    _print(
        chosen,
        told,
        [f"{chosen.file} is in order: store {settings.store.id}, {len(settings.readers)} readers."],
    )
    return 0


def _token_issue(chosen: argparse.Namespace) -> int:
    told = _operate(chosen, "token.issue", scope=chosen.scope, expires_seconds=chosen.expires)
    until = f"until {told['expires_at']}" if told["expires_at"] else "until revoked"
    _print(
        chosen, told, [told["token"], f"  {told['scope']}, id {told['id']}, {until}; it is not shown again"]
    )
    return 0


def _token_revoke(chosen: argparse.Namespace) -> int:
    _print(chosen, _operate(chosen, "token.revoke", id=chosen.id), [f"{chosen.id} is revoked."])
    return 0


def _token_list(chosen: argparse.Namespace) -> int:
    told = _operate(chosen, "token.list")
    rows = [
        f"{t['id']}  {t['scope']:<20} {'valid' if t['valid'] else 'not valid'}  {t['expires_at'] or ''}".rstrip()
        for t in told["tokens"]
    ]
    _print(chosen, told, rows or ["There are no tokens."])
    return 0


def _qr(chosen: argparse.Namespace) -> int:
    from devices.codes import as_png, as_svg, as_text

    told = _operate(chosen, "checkin", appointment=chosen.appointment)
    if chosen.png or chosen.svg:
        path: Path = chosen.png or chosen.svg
        path.write_bytes(as_png(told["token"]) if chosen.png else as_svg(told["token"]))
        lines = [f"{path}: the code of {told['appointment']}, good until {told['expires_at']}"]
    else:
        lines = [as_text(told["token"]), f"{told['appointment']}, good until {told['expires_at']}"]
    _print(chosen, told, lines)
    return 0


def _replay(chosen: argparse.Namespace) -> int:
    from gateway import offline

    told = offline.replayed(_settings(chosen.config))
    live = told.get("live")
    lines = [f"{told['digest']}  after event {told['seq']}"]
    if live:
        same = "equal to the replay" if live["equal"] else "NOT equal to the replay"
        lines.append(f"{live['digest']}  live, after event {live['seq']}: {same}")
    _print(chosen, told, lines)
    return 0 if live is None or live["equal"] else 1


def _verify(chosen: argparse.Namespace) -> int:
    from gateway import offline

    told = offline.verify(_settings(chosen.config))
    _print(
        chosen, told, [f"{told['events']} events of {told['store']}, epoch {told['epoch']}: the chain holds."]
    )
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    from gateway import offline

    lines = offline.explained(_settings(chosen.config), chosen.visit)
    _print(chosen, {"visit": chosen.visit, "told": lines}, lines)
    return 0


def _broker_export(chosen: argparse.Namespace) -> int:
    from gateway.settings import secret

    broker = _settings(chosen.config).broker
    password = secret(broker.password_file) if broker.password_file else ""
    told = _operate(chosen, "broker.export", username=broker.username or "", password=password)
    from gateway.shell.logins import write_private

    files = {"soglia.passwords": told["passwords"], "soglia.acl": told["acl"]}
    for name, text in files.items():
        write_private(chosen.to / name, text)
    _print(chosen, {"files": sorted(files)}, [f"{chosen.to / name} written" for name in sorted(files)])
    return 0


def _operate(chosen: argparse.Namespace, op: str, **fields: object) -> dict[str, Any]:
    from devices.decoders.tokens import mint
    from gateway import offline
    from gateway.operations import Operations
    from gateway.stores import open_stores

    settings = _settings(chosen.config)

    def here() -> dict[str, Any]:
        stores = open_stores(settings)
        try:
            return Operations(stores, settings.store.id, settings.rules, mint).handlers[op](fields)
        finally:
            stores.close()

    return offline.change(settings, op, here, **fields)


def _settings(path: str) -> Settings:
    from devices import registry
    from gateway.settings import load

    return load(Path(path), registry.check, registry.types())


def _span(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a span of time: use e.g. 30d, 12h, 45m or 90s")
    return int(found[1]) * _SPANS[found[2]]


def _print(chosen: argparse.Namespace, told: object, lines: Sequence[str]) -> None:
    print(json.dumps(told, ensure_ascii=False) if chosen.json else "\n".join(lines))


def _fail(error: SogliaError, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error.reason, "detail": error.detail}, ensure_ascii=False))
    print(f"soglia: {error.detail} [{error.reason}]", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
