"""SIGTERM while reads pour in: all that was accepted is committed, and the rest comes again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.rigs.broken import answers_at_the_door, program
from tests.rigs.daemon import HERE, Daemon, opened
from tests.rigs.ordeal import (
    SCOPES,
    Account,
    RemoteReader,
    account,
    events_on_disk,
    populate,
    verified_events,
)

READS, ROUNDS = 3_000, 3


def rounds(folder: Path, run: Sequence[str] = HERE) -> tuple[list[Account], Daemon, RemoteReader]:
    """Stop the daemon three times in the middle of a burst; each time what it had promised and kept."""
    daemon = Daemon(folder, program=run)
    daemon.issue(*SCOPES)
    daemon.start()
    populate(daemon, READS // 2)
    found = []
    reader = RemoteReader(daemon, pause=0.001, reads=READS, window=400)
    for _ in range(ROUNDS):
        before = len(reader.answered)
        deadline = time.monotonic() + 30
        while len(reader.answered) < min(before + 50, READS):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert daemon.stop() == 0
        answered = dict(reader.answered)
        found.append(account(events_on_disk(daemon), answered))
        daemon.start()
    return found, daemon, reader


def test_what_is_accepted_is_committed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, daemon, reader = rounds(tmp_path)
    with opened(daemon):
        try:
            assert not [each for each in found if each.lost or each.duplicated]
            reader.finish()
        finally:
            reader.close()
        last = account(verified_events(daemon), reader.answered)
    with capsys.disabled():
        counts = f"{last.acknowledged} acknowledged, {len(last.lost)} lost, {len(last.duplicated)} duplicated"
        print(f"\n  {ROUNDS} SIGTERMs in a burst, after {[f.acknowledged for f in found]} reads: {counts}")
    assert (last.lost, last.duplicated, last.opened_twice) == ((), (), ())


def test_a_gateway_that_drops_its_inbox_is_caught(tmp_path: Path) -> None:
    found, daemon, reader = rounds(tmp_path, program(answers_at_the_door))
    with opened(daemon):
        reader.close()
    assert any(each.lost for each in found)
