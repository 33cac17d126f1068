"""What the command line reads without the daemon's help: the log's file, while the daemon may be writing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gateway.core.errors import PeerError, Refused
from gateway.core.evolve import evolve
from gateway.core.explain import explain
from gateway.core.state import State, digest
from gateway.settings_model import Settings
from gateway.shell import control
from gateway.shell.log_view import LogView
from gateway.shell.replay import verified
from gateway.stores import LOG


def replayed(settings: Settings) -> dict[str, Any]:
    """The state's digest from the log alone, every event checked; beside it the running daemon's, if one runs.

    Raises:
        LogError: the log has been changed, or cannot be read.
    """
    live = _live(settings)
    with _log(settings) as log:
        state, head = State(), log.head[0]
        at_live = None
        for sealed in verified(log, 0, log.genesis):
            state = evolve(state, sealed.event, sealed.seq)
            if live and sealed.seq == live["seq"]:
                at_live = digest(state)
    told: dict[str, Any] = {"seq": head, "digest": digest(state)}
    if live:
        ours = at_live if live["seq"] else digest(State())
        told["live"] = {**live, "equal": ours == live["digest"]}
    return told


def verify(settings: Settings) -> dict[str, Any]:
    """Check the hash chain from the first event to the last.

    Raises:
        LogError: it is broken; says where.
    """
    with _log(settings) as log:
        count = sum(1 for _ in verified(log, 0, log.genesis))
        return {"store": log.store, "epoch": log.epoch, "events": count, "hash": log.head[1]}


def explained(settings: Settings, visit: str) -> list[str]:
    """A visit told in plain words.

    Raises:
        Refused: `unknown-visit`.
    """
    with _log(settings) as log:
        lines = explain((sealed.seq, sealed.event) for sealed in log.about(visit))
    if not lines:
        raise Refused("unknown-visit", f"The log has no visit {visit!r}: `GET /api/v1/visits` lists them.")
    return lines


def change(
    settings: Settings, op: str, offline: Callable[[], dict[str, Any]], **fields: object
) -> dict[str, Any]:
    """Have `op` done by the running daemon, or do it here where none runs.

    Raises:
        Refused: as the operation says.
    """
    try:
        return control.call(settings.data_dir / control.FILE, op, timeout=60.0, **fields)
    except PeerError as error:
        if error.reason != "daemon-not-running":
            raise
    return offline()


def _live(settings: Settings) -> dict[str, Any] | None:
    try:
        return control.call(settings.data_dir / control.FILE, "state.digest")
    except PeerError:
        return None


@contextmanager
def _log(settings: Settings) -> Iterator[LogView]:
    log = LogView(settings.data_dir / LOG)
    try:
        yield log
    finally:
        log.close()
