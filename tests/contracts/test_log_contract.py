"""One suite for every EventLog: what is committed is there, what is not is nowhere."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from gateway.core import chain
from gateway.core import events as ev
from gateway.core.errors import LogError
from gateway.core.receipts import First, Outcome
from gateway.shell import log_sql
from gateway.shell.log import EventLog, Snapshot, StoredReceipt
from gateway.shell.sqlite_log import SqliteLog
from gateway.testing import MemoryLog

STORE = "milano-01"
AT = datetime(2026, 11, 22, 10, 2, 3, 456000, tzinfo=UTC)
YES = First(Outcome.ACCEPTED)
NO = First(Outcome.REFUSED, "visit-closed")


class Disk(Protocol):
    """Where a log lives between two runs of the gateway."""

    def open(self) -> EventLog: ...

    def restart(self, log: EventLog) -> EventLog: ...


class Memory:
    def open(self) -> EventLog:
        return MemoryLog(STORE)

    def restart(self, log: EventLog) -> EventLog:
        assert isinstance(log, MemoryLog)
        return log.restarted()


class Sqlite:
    def __init__(self, path: Path, tail: int) -> None:
        self.path, self.tail = path, tail
        self.opened: list[EventLog] = []

    def open(self) -> EventLog:
        self.opened.append(SqliteLog(self.path, STORE, tail=self.tail))
        return self.opened[-1]

    def restart(self, log: EventLog) -> EventLog:
        log.close()
        return self.open()


@pytest.fixture(params=["memory", "sqlite", "sqlite-short-tail"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "memory":
        yield Memory()
        return
    sqlite = Sqlite(tmp_path / "log.db", 4096 if request.param == "sqlite" else 5)
    yield sqlite
    for log in sqlite.opened:
        log.close()


@pytest.fixture
def log(disk: Disk) -> EventLog:
    return disk.open()


def recovered(reader: str, n: int = 0) -> ev.Event:
    return ev.ReaderRecovered(at=AT + timedelta(seconds=n), reader=reader)


def fill(log: EventLog, commands: int, each: int = 1) -> None:
    """That many commands with `each` events, committed; ids go on from the head."""
    start = log.head[0]
    for n in range(commands):
        events = [recovered(f"door-{start + n * each + k + 1}") for k in range(each)]
        log.append(f"c{start}-{n}", b"said", YES, events)
    log.commit()


def elsewhere(ask: Callable[[], Any]) -> Any:
    """What another thread is told."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result(timeout=30)


# -- visibility


def test_a_new_log_is_empty(log: EventLog) -> None:
    assert log.store == STORE
    assert log.head == (0, log.genesis)
    assert log.read(0, 10) == []
    assert log.hash_at(0) == log.genesis == chain.genesis(STORE, log.epoch)
    assert log.snapshot() is None
    assert log.cursor("anybody") == 0
    assert log.receipt("c1") is None


def test_nobody_sees_a_group_before_its_commit(log: EventLog) -> None:
    fill(log, 2)
    before = log.head
    log.append("open", b"said", YES, [recovered("door-9")])
    log.move_cursor("sync", 2)
    log.save_snapshot(Snapshot(2, b"{}", "d"))
    for seen in (lambda: log.head, lambda: (log.read(0, 10)[-1].seq, log.read(0, 10)[-1].hash)):
        assert seen() == elsewhere(seen) == before
    assert elsewhere(lambda: list(log.about("door-9"))) == []
    assert elsewhere(lambda: (log.cursor("sync"), log.snapshot())) == (0, None)
    with pytest.raises(KeyError):
        log.hash_at(3)

    log.commit()

    assert elsewhere(lambda: log.head)[0] == 3
    assert [one.seq for one in elsewhere(lambda: log.read(2, 10))] == [3]
    assert [one.seq for one in elsewhere(lambda: list(log.about("door-9")))] == [3]
    assert elsewhere(lambda: log.cursor("sync")) == 2
    assert elsewhere(log.snapshot) == Snapshot(2, b"{}", "d")
    assert log.hash_at(3) == log.head[1]


def test_an_uncommitted_group_does_not_survive_a_restart(disk: Disk) -> None:
    log = disk.open()
    fill(log, 3)
    head, epoch = log.head, log.epoch
    log.append("lost", b"said", YES, [recovered("door-9")])
    log.move_cursor("sync", 3)
    again = disk.restart(log)
    assert (again.head, again.epoch) == (head, epoch)
    assert again.receipt("lost") is None
    assert again.cursor("sync") == 0
    assert [one.seq for one in again.read(0, 10)] == [1, 2, 3]
    fill(again, 1)
    assert again.head[0] == 4


# -- receipts


def test_receipts_are_seen_in_the_open_group_and_after_a_restart(disk: Disk) -> None:
    log = disk.open()
    log.append("two", b"\x00hash", YES, [recovered("door-1"), recovered("door-2")])
    log.append("none", b"other", NO, [])
    wanted = {"two": StoredReceipt(b"\x00hash", YES, 2), "none": StoredReceipt(b"other", NO, None)}
    assert {name: log.receipt(name) for name in wanted} == wanted
    log.commit()
    assert {name: log.receipt(name) for name in wanted} == wanted
    again = disk.restart(log)
    assert {name: again.receipt(name) for name in wanted} == wanted


def test_a_command_is_never_decided_twice(log: EventLog) -> None:
    log.append("once", b"said", YES, [recovered("door-1")])
    log.commit()
    with pytest.raises(LogError) as error:
        log.append("once", b"said", YES, [recovered("door-2")])
    assert error.value.reason == "log-conflict"


# -- events


def test_the_chain_holds_from_genesis_over_groups_and_restarts(disk: Disk) -> None:
    log = disk.open()
    fill(log, 3, each=4)
    log = disk.restart(log)
    fill(log, 2, each=3)
    prev, seq = log.genesis, 0
    for one in log.read(0, 1000):
        assert one.seq == (seq := seq + 1)
        assert chain.intact(one, prev)
        prev = one.hash
    assert log.head == (18, prev)


def test_what_append_returns_is_what_is_read(log: EventLog) -> None:
    sealed = log.append("c", b"said", YES, [recovered("door-1", n) for n in range(12)])
    log.commit()
    assert log.read(0, 100) == sealed
    assert [one.event for one in log.read(0, 100)] == [recovered("door-1", n) for n in range(12)]


def test_ranges_across_memory_and_disk(log: EventLog) -> None:
    fill(log, 20)
    for after, limit in product((0, 1, 6, 13, 14, 15, 16, 19, 20, 25), (1, 3, 100)):
        wanted = list(range(after + 1, min(after + limit, 20) + 1))
        assert [one.seq for one in log.read(after, limit)] == wanted
        assert [one.event.subject for one in log.read(after, limit)] == [f"door-{n}" for n in wanted]


def test_hash_at_every_event_and_no_other(log: EventLog) -> None:
    fill(log, 12)
    assert [log.hash_at(n) for n in range(1, 13)] == [one.hash for one in log.read(0, 12)]
    for absent in (13, 99, -1):
        with pytest.raises(KeyError):
            log.hash_at(absent)


def test_about_finds_a_subject_in_order(log: EventLog) -> None:
    for n in range(20):
        log.append(f"c{n}", b"", YES, [recovered('door "1"' if n % 3 else "door-2", n)])
    log.commit()
    assert [one.seq for one in log.about("door-2")] == [1, 4, 7, 10, 13, 16, 19]
    assert len(list(log.about('door "1"'))) == 13
    assert list(log.about("door-3")) == []


# -- cursors and snapshots


def test_cursors_only_move_forward(disk: Disk) -> None:
    log = disk.open()
    for seq in (5, 3):
        log.move_cursor("sync", seq)
    log.commit()
    assert log.cursor("sync") == 5
    log.move_cursor("sync", 2)
    log.move_cursor("alerts", 7)
    log.commit()
    again = disk.restart(log)
    assert (again.cursor("sync"), again.cursor("alerts"), again.cursor("kpi")) == (5, 7, 0)


def test_the_newest_snapshot_counts(disk: Disk) -> None:
    log = disk.open()
    for seq in (10, 20, 30):
        log.save_snapshot(Snapshot(seq, b"{%d}" % seq, f"digest-{seq}"))
        log.commit()
        assert log.snapshot() == Snapshot(seq, b"{%d}" % seq, f"digest-{seq}")
    assert disk.restart(log).snapshot() == Snapshot(30, b"{30}", "digest-30")


def test_a_commit_without_a_group_is_nothing(log: EventLog) -> None:
    log.commit()
    log.idle()
    fill(log, 1)
    head = log.head
    log.commit()
    assert log.head == head


def test_a_closed_log_says_so(log: EventLog) -> None:
    fill(log, 1)
    log.close()
    log.close()
    for attempt in (log.snapshot, lambda: log.move_cursor("sync", 1), log.commit):
        with pytest.raises(LogError) as error:
            attempt()
        assert error.value.reason == "log-closed"


def test_readers_and_the_writer_at_the_same_time(log: EventLog) -> None:
    done = threading.Event()

    def follow() -> list[int]:
        seen: list[int] = []
        while True:
            last = done.is_set()
            got = log.read(seen[-1] if seen else 0, 7)
            assert log.head[0] >= (got[-1].seq if got else 0)
            seen += [one.seq for one in got]
            if last and not got:
                return seen

    with ThreadPoolExecutor(3) as pool:
        followers = [pool.submit(follow) for _ in range(3)]
        try:
            for n in range(40):
                fill(log, 3)
                if n % 10 == 0:
                    log.idle()
        finally:
            done.set()
        for follower in followers:
            assert follower.result(timeout=60) == list(range(1, 121))


# -- only in SQLite


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odd #name%20?" / "log.db"


@pytest.fixture
def sqlite(path: Path) -> Iterator[SqliteLog]:
    path.parent.mkdir()
    log = SqliteLog(path, STORE, tail=5)
    yield log
    log.close()


def test_the_write_connection_really_is_durable(sqlite: SqliteLog) -> None:
    asked = {name: sqlite._db.execute(f"PRAGMA {name}").fetchone()[0] for name in log_sql.WANTED}
    assert asked == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}


class Careless(SqliteLog):
    settings: ClassVar[tuple[str, ...]] = (*log_sql.SETTINGS, "synchronous = OFF")


class OldFashioned(SqliteLog):
    settings: ClassVar[tuple[str, ...]] = (*log_sql.SETTINGS, "journal_mode = DELETE")


@pytest.mark.parametrize("kind", [Careless, OldFashioned])
def test_control_a_log_that_is_not_durable_does_not_open(kind: type[SqliteLog], tmp_path: Path) -> None:
    with pytest.raises(LogError) as error:
        kind(tmp_path / "log.db", STORE)
    assert error.value.reason == "log-not-durable"


def test_readers_cannot_write(sqlite: SqliteLog) -> None:
    fill(sqlite, 9)
    assert sqlite.read(0, 1)
    with pytest.raises(LogError) as error:
        sqlite._file._ask("DELETE FROM events")
    assert "readonly" in error.value.detail
    assert len(sqlite.read(0, 100)) == 9


def test_only_we_may_read_the_files(sqlite: SqliteLog, path: Path) -> None:
    fill(sqlite, 9)
    sqlite.read(0, 1)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"log.db": 0o600, "log.db-wal": 0o600, "log.db-shm": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.touch(mode=0o644)
    SqliteLog(path, STORE).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_log_of_another_store_is_refused(sqlite: SqliteLog, path: Path) -> None:
    sqlite.close()
    with pytest.raises(LogError) as error:
        SqliteLog(path, "roma-02")
    assert error.value.reason == "log-of-another-store"
    SqliteLog(path, STORE).close()


@pytest.mark.parametrize("spoil", ["directory", "not-a-database", "absent"])
def test_a_file_that_cannot_be_a_log_is_refused(path: Path, spoil: str) -> None:
    if spoil == "directory":
        path.mkdir(parents=True)
    if spoil == "not-a-database":
        path.parent.mkdir()
        path.write_bytes(b"no database" * 1000)
    with pytest.raises(LogError) as error:
        SqliteLog(path, STORE)
    assert error.value.reason == "log-unusable"


def test_ordinals_count_within_a_command(sqlite: SqliteLog) -> None:
    fill(sqlite, 2, each=3)
    rows = sqlite._db.execute("SELECT command_id, ordinal FROM events ORDER BY seq").fetchall()
    assert rows == [("c0-0", 0), ("c0-0", 1), ("c0-0", 2), ("c0-1", 0), ("c0-1", 1), ("c0-1", 2)]
    assert sqlite._db.execute("SELECT first_seq, last_seq FROM receipts").fetchall() == [(1, 3), (4, 6)]


def test_two_snapshots_are_kept(sqlite: SqliteLog) -> None:
    for seq in (10, 20, 30):
        sqlite.save_snapshot(Snapshot(seq, b"{}", "d"))
    sqlite.commit()
    assert sqlite._db.execute("SELECT seq FROM snapshots ORDER BY seq").fetchall() == [(20,), (30,)]


def test_an_event_type_of_a_later_version_is_read_but_not_understood(sqlite: SqliteLog) -> None:
    fill(sqlite, 9)
    later = "CAST(replace(CAST(body AS TEXT), '.v1\"}', '.v9\"}') AS BLOB)"
    sqlite._db.execute(f"UPDATE events SET body = {later} WHERE seq = 1")
    (first,) = sqlite.read(0, 1)
    assert b"soglia.reader.recovered.v9" in first.body
    with pytest.raises(KeyError):
        _ = first.event


def wal_bytes(path: Path) -> int:
    return path.with_name("log.db-wal").stat().st_size


def test_the_wal_is_emptied_when_idle_and_bounded_when_busy(sqlite: SqliteLog, path: Path) -> None:
    most = 0
    snapshot = b"x" * 1_000_000
    for seq in range(1, 31):
        sqlite.save_snapshot(Snapshot(seq, snapshot, "d"))
        sqlite.commit()
        most = max(most, wal_bytes(path))
    assert 2 << 20 < most < 16 << 20
    sqlite.save_snapshot(Snapshot(31, snapshot * 3, "d"))
    sqlite.commit()
    assert wal_bytes(path) > 2 << 20
    sqlite.idle()
    assert wal_bytes(path) == 0


def test_a_reader_that_takes_its_time_delays_no_commit(sqlite: SqliteLog, path: Path) -> None:
    fill(sqlite, 9)
    with sqlite._file._readers.one() as reader:
        rows = reader.execute("SELECT seq FROM events")  # holds its view of the log open
        assert rows.fetchone() == (1,)
        sqlite._db.execute("PRAGMA busy_timeout = 600000")
        sqlite.save_snapshot(Snapshot(9, b"x" * 3_000_000, "d"))
        sqlite.commit()
        sqlite.idle()  # would wait for ten minutes
        assert wal_bytes(path) > 0
        rows.fetchall()
    sqlite.idle()
    assert wal_bytes(path) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a full disk needs root and mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a full disk needs leave to mount a tmpfs")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_log_and_loses_nothing_acknowledged(small_disk: Path) -> None:
    log = SqliteLog(small_disk / "log.db", STORE)
    acknowledged = 0
    try:
        fill(log, 10)
        acknowledged = log.head[0]
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 600_000)
        failure: LogError | None = None
        for _ in range(10_000):
            try:
                fill(log, 5)
            except LogError as error:
                failure = error
                break
            acknowledged = log.head[0]
        assert failure is not None
        assert failure.reason == "disk-full"
        assert acknowledged > 10
        ballast.unlink()
        # Space is back, but what the failed group became is unknown: only a restart may go on.
        for attempt in (log.commit, lambda: fill(log, 1)):
            with pytest.raises(LogError):
                attempt()
    finally:
        log.close()
    again = SqliteLog(small_disk / "log.db", STORE)
    try:
        assert again.head[0] >= acknowledged
        prev = again.genesis
        for one in again.read(0, 100_000):
            assert chain.intact(one, prev)
            prev = one.hash
        assert again.head[1] == prev
        assert all(again.receipt(f"c{n * 5 + 10}-0") for n in range((acknowledged - 10) // 5))
        fill(again, 1)
    finally:
        again.close()


def test_control_a_disk_with_space_takes_as_much(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", STORE)
    try:
        for _ in range(300):
            fill(log, 5)
        assert log.head[0] == 1500
    finally:
        log.close()
