"""The daemon is killed again and again, at any instant: what it has acknowledged it has kept, exactly once."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.rigs.broken import acknowledges_before_commit, program
from tests.rigs.daemon import HERE, Daemon, opened
from tests.rigs.ordeal import (
    SCOPES,
    Account,
    RemoteReader,
    Tablet,
    account,
    populate,
    settle,
    verified_events,
)

KILLS, ALL_KILLS, CONTROL_KILLS = 25, 500, 8


def ordeal(folder: Path, kills: int, run: Sequence[str] = HERE, patience: float = 60) -> Account:
    """So many kills; half of them at any instant from the start on, half while reads come in."""
    chance = random.Random(kills)
    with opened(Daemon(folder, program=run)) as daemon:
        daemon.issue(*SCOPES)
        daemon.start()
        populate(daemon, 200 + 40 * kills)
        reader, tablet = RemoteReader(daemon), Tablet(daemon)
        try:
            for number in range(kills):
                if number % 2:
                    time.sleep(chance.uniform(0, 1.6))
                else:
                    daemon.wait_ready()
                    time.sleep(chance.uniform(0.2, 0.8))
                daemon.kill()
                daemon.spawn()
            daemon.wait_ready()
            reader.finish()
            settle(daemon, tablet, patience)
            events = verified_events(daemon)
            assert daemon.soglia("replay").json["live"]["equal"] is True
            assert daemon.soglia("verify").json["events"] >= len(events)
        finally:
            reader.close()
            tablet.close()
    return account(events, reader.answered)


@pytest.mark.timeout(3600)
def test_what_is_acknowledged_is_kept_exactly_once(
    tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = ALL_KILLS if pytestconfig.getoption("--full-counts") else KILLS
    found = ordeal(tmp_path, kills)
    with capsys.disabled():
        print(f"\n  {kills} kills of the daemon: {found}")
    assert found.acknowledged > 5 * kills, "too little happened to prove anything"
    assert found.clean, found


def test_a_gateway_that_acknowledges_before_it_commits_is_caught(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ordeal(tmp_path, CONTROL_KILLS, program(acknowledges_before_commit), patience=3)
    with capsys.disabled():
        print(f"\n  {CONTROL_KILLS} kills of one that acknowledges before it commits: {found}")
    assert found.lost
