"""The engine, its log and the disk: restarts, an insider who changes the file, a disk that is full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import commands as cmd
from gateway.core import events as ev
from gateway.core.errors import LogError
from gateway.core.evolve import evolve
from gateway.core.model import Clerk
from gateway.core.receipts import Outcome
from gateway.core.state import State, digest
from gateway.shell import engine as engine_module
from gateway.shell.log_file import sqlite3
from gateway.shell.replay import replay
from gateway.shell.sqlite_log import SqliteLog
from tests.rigs.engine_room import PATIENCE, TEN, Open, Shop, arrival, done, receipts_of


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Open]:
    """Opens the shop, again and again; all are closed in the end."""
    shops: list[Shop] = []

    def opened(folder: Path = tmp_path, **more: Any) -> Shop:
        shops.append(Shop(folder, **more))
        return shops[-1]

    yield opened
    for one in shops:
        one.close()


# -- restarts


def day(shop: Shop) -> None:
    """Some of everything."""
    receipts = [
        shop.engine.submit(cmd.RosterClerk(id="dir:clerk:marco:1", at=TEN, clerk=Clerk("marco"))),
        shop.engine.submit(arrival(TEN)),
        shop.lost("r1"),
        shop.engine.submit(arrival(TEN, "r2")),
    ]
    for receipt in receipts:
        done(receipt)


def test_the_state_after_a_restart_is_the_state_before(shop: Open) -> None:
    here = shop()
    here.engine.start()
    day(here)
    here.close()
    there = shop()
    assert digest(there.engine.state) == digest(here.engine.state)
    assert there.engine.committed[0] == here.engine.committed[0] == 6
    there.engine.start()
    done(there.lost("r9"))
    there.close()
    log = SqliteLog(here.path, "milano-01")
    assert digest(replay(log)) == digest(there.engine.state)
    assert digest(replay(log, use_snapshot=False)) == digest(there.engine.state)
    log.close()


def test_a_start_goes_from_the_snapshot(shop: Open) -> None:
    here = shop()
    here.engine.start()
    day(here)
    here.close()
    change(
        here.path,
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'marco', 'maria') AS BLOB) WHERE seq = 1",
    )
    log = SqliteLog(here.path, "milano-01")
    assert digest(replay(log)) == digest(here.engine.state)  # which never looked at event 1
    with pytest.raises(LogError, match="Event 1 is not what was written"):
        replay(log, use_snapshot=False)
    log.close()


def test_snapshots_are_taken_on_the_way(shop: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SNAPSHOT_EVERY", 10)
    here = shop()
    here.engine.start()
    for n in range(10):
        done(here.lost(f"r{n}"))
    # It is written with a later group: keep the engine turning until it is there.
    for n in range(1_000):
        done(here.lost(f"more{n}"))
        if (saved := here.log.snapshot()) is not None:
            break
    assert saved is not None
    state = State()
    for sealed in here.log.read(0, saved.seq):
        state = evolve(state, sealed.event, sealed.seq)
    assert digest(state) == saved.digest


def change(path: Path, statement: str) -> None:
    """What an insider with the disk in hand would do."""
    insider = sqlite3.connect(str(path))
    with insider:
        insider.execute(statement)
    insider.close()


@pytest.mark.parametrize(
    ("statement", "reason", "says"),
    [
        (
            "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'v-anna', 'v-vera') AS BLOB) WHERE seq = 2",
            "log-tampered",
            "Event 2",
        ),
        ("UPDATE events SET hash = upper(hash) WHERE seq = 4", "log-tampered", "Event 4"),
        ("UPDATE events SET type = 'soglia.visit.closed.v1' WHERE seq = 3", "log-tampered", "Event 3"),
        ("DELETE FROM events WHERE seq = 5", "log-gap", "Event 5"),
        ("UPDATE snapshots SET state = CAST('{}' AS BLOB)", "snapshot-damaged", "after event 6"),
        ("UPDATE snapshots SET seq = 70", "snapshot-unusable", "after event 70"),
    ],
)
def test_a_changed_disk_is_found_at_the_start(shop: Open, statement: str, reason: str, says: str) -> None:
    here = shop()
    here.engine.start()
    day(here)
    here.close()
    log = SqliteLog(here.path, "milano-01")
    use_snapshot = "snapshots" in statement
    assert digest(replay(log, use_snapshot)) == digest(here.engine.state)
    change(here.path, statement)
    with pytest.raises(LogError, match=says) as caught:
        replay(log, use_snapshot)
    assert caught.value.reason == reason
    log.close()


def test_an_event_of_a_newer_version_is_no_crash(shop: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    here = shop()
    here.engine.start()
    day(here)
    here.close()
    monkeypatch.delitem(ev.TYPES, "soglia.reader.lost.v1")
    log = SqliteLog(here.path, "milano-01")
    with pytest.raises(LogError, match="install the one that wrote it") as caught:
        replay(log, use_snapshot=False)
    assert caught.value.reason == "log-unreadable"
    log.close()


# -- the disk fails


Fill = Callable[[Shop], None]


@pytest.fixture(params=["a full file system", "a full database"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Fill]]:
    """A folder, and what fills the disk below it: really, or as SQLite believes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "a full database":
        yield folder, lambda shop: shop.log._db.execute("PRAGMA max_page_count = 1")
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder, lambda shop: ballast(folder / "ballast")
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def ballast(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return


def test_a_failed_commit_promises_nothing_and_ends_the_engine(disk: tuple[Path, Fill], shop: Open) -> None:
    folder, fill = disk
    here = shop(folder)
    here.engine.start()
    kept = [done(here.lost(f"kept{n}")) for n in range(20)]
    here.engine.stop()
    engine = here.new_engine()
    fill(here)
    futures = [here.lost(f"lost{n}") for n in range(400)]
    woken: list[int] = []
    engine.on_commit(lambda: woken.append(1))
    engine.start()
    assert here.ended.wait(PATIENCE), "nobody heard that the disk is full"
    assert [error.reason for error in here.fatal] == ["disk-full"]
    assert engine.failed is here.fatal[0]
    assert woken == []
    assert not any(future.done() for future in futures), "a receipt was given for what is not on disk"
    assert done(here.lost("after")).reason == "busy"
    assert len(here.names()) == len(engine.state.readers) == len(kept)


def test_once_there_is_room_again_all_of_it_comes_again(disk: tuple[Path, Fill], shop: Open) -> None:
    folder, fill = disk
    here = shop(folder)
    fill(here)
    for n in range(400):
        here.lost(f"r{n}")
    here.engine.start()
    assert here.ended.wait(PATIENCE)
    here.close()
    (folder / "ballast").unlink(missing_ok=True)
    there = shop(folder)
    futures = [there.lost(f"r{n}") for n in range(400)]
    there.engine.start()
    assert {done(future).outcome for future in futures} <= {Outcome.ACCEPTED, Outcome.REPEATED}
    assert len(there.names()) == 400


class Careless(SqliteLog):
    """The negative control: a log that says it has committed when it has not."""

    def commit(self) -> None:
        with self._tail_lock:
            self._tail.extend(self._group)
            self.head = self._staged
        self._group, self._group_receipts = [], {}


def test_a_log_that_only_says_so_is_found_out(shop: Open) -> None:
    here = shop(kind=Careless)
    here.engine.start()
    assert done(here.lost("r1")).outcome is Outcome.ACCEPTED
    assert receipts_of(here.path, "dev:r1") == 0
