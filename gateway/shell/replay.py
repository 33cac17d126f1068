"""The state from the log: the newest snapshot, then the events after it, each checked against the chain."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from gateway.core.chain import Sealed, intact
from gateway.core.errors import LogError
from gateway.core.events import Event
from gateway.core.evolve import evolve
from gateway.core.state import State, from_bytes
from gateway.shell.log import CommittedLog

_PAGE = 2_000


def replay(log: CommittedLog, use_snapshot: bool = True) -> State:
    """The state after the log's last event.

    Raises:
        LogError: an event is missing or has been changed; names its number.
    """
    state, seq, prev = State(), 0, log.genesis
    saved = log.snapshot() if use_snapshot else None
    if saved is not None:
        if hashlib.sha256(saved.state).hexdigest() != saved.digest:
            raise LogError(
                "snapshot-damaged", f"The snapshot after event {saved.seq} has been changed on disk."
            )
        try:
            state, seq, prev = from_bytes(saved.state), saved.seq, log.hash_at(saved.seq)
        except (KeyError, TypeError, ValueError) as error:
            detail = f"The snapshot after event {saved.seq} does not fit this log or this version: {error!r}."
            raise LogError("snapshot-unusable", detail) from error
    for sealed in verified(log, seq, prev):
        state = evolve(state, _event(sealed), sealed.seq)
    return state


def _event(sealed: Sealed) -> Event:
    try:
        return sealed.event
    except (KeyError, TypeError, ValueError) as error:
        detail = f"Event {sealed.seq} ({sealed.type}) is not one this version knows: install the one that wrote it."
        raise LogError("log-unreadable", detail) from error


def verified(log: CommittedLog, seq: int, prev_hash: str) -> Iterator[Sealed]:
    """The committed events after `seq`, whose hash is `prev_hash`, as long as the chain holds.

    Raises:
        LogError: it does not.
    """
    while page := log.read(seq, _PAGE):
        for sealed in page:
            if sealed.seq != seq + 1:
                raise LogError("log-gap", f"Event {seq + 1} is missing from the log.")
            if not intact(sealed, prev_hash):
                raise LogError(
                    "log-tampered", f"Event {sealed.seq} is not what was written: the chain is broken there."
                )
            yield sealed
            seq, prev_hash = sealed.seq, sealed.hash
