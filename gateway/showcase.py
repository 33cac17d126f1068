"""The demo store: a small shop whose day always happens now.

Its files lie in `config/demo` of a checkout, and in `gateway/demo` of an installed package. They are templates:

    {"$now_plus_minutes": -12}              in directory.ndjson: a time, relative to the start
    {"$token": "a-3", "expired": true}      in a reader's script: a check-in token for that appointment,
                                            signed by the store's own key like any other
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.shell.lock import DataDir

DIRECTORY: Final = "directory.ndjson"
STORE: Final = "store.toml"
DATA: Final = "data"  # as STORE says


class Mint(Protocol):
    """Signs a check-in token for an appointment, one that has already run out when `expired`."""

    def __call__(self, appointment: str, *, expired: bool) -> str: ...


def folder() -> Path:
    """Where the demo's files are."""
    here = Path(__file__).resolve().parent
    installed = here / "demo"
    return installed if installed.is_dir() else here.parent / "config" / "demo"


def scripts() -> list[Path]:
    """The readers' scripts."""
    return sorted(each for each in folder().glob("*.ndjson") if each.name != DIRECTORY)


def records(now: datetime) -> Iterator[dict[str, Any]]:
    """The directory records, with times around `now`. Each start has higher versions than the one before,
    because its times are other ones."""

    def resolve(value: dict[str, Any]) -> object:
        match value:
            case {"$now_plus_minutes": int(minutes)}:
                at = now + timedelta(minutes=minutes)
                return at.isoformat(timespec="seconds")
        return value

    for line in (folder() / DIRECTORY).read_text("utf-8").splitlines():
        yield {**json.loads(line, object_hook=resolve), "version": int(now.timestamp())}


def copy_to(target: Path, *, fresh: bool = True) -> Path:
    """Make a working copy and give its store.toml. `fresh` forgets what an earlier demo there has written.

    The scripts become playable with `write_scripts`, once the store has a key to sign with.

    Raises:
        Refused: data-dir-in-use, a demo runs there; data-dir-unusable.
    """
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder() / STORE, target / STORE)
    for script in scripts():
        shutil.copyfile(script, target / script.name)
    if fresh and (target / DATA).is_dir():
        with DataDir.hold(target / DATA):
            shutil.rmtree(target / DATA)
    return target / STORE


def write_scripts(target: Path, mint: Mint) -> None:
    """Write the readers' scripts into the working copy, with freshly signed tokens."""
    for script in scripts():
        text = "".join(_playable(line, mint) for line in script.read_text("utf-8").splitlines())
        (target / script.name).write_text(text, "utf-8")


def _playable(line: str, mint: Mint) -> str:
    def resolve(value: dict[str, Any]) -> object:
        match value:
            case {"$token": str(appointment), **options}:
                return mint(appointment, expired=bool(options.get("expired")))
        return value

    return json.dumps(json.loads(line, object_hook=resolve)) + "\n"
