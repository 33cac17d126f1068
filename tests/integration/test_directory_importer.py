"""Bulk import in a child process, beside a daemon that goes on writing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import PeerError
from gateway.shell import directory_connections
from gateway.shell.directory import Directory
from gateway.shell.directory_connections import Connections
from gateway.shell.importer import Importer

KEY = b"k" * 32
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def visitors(count: int) -> Iterator[bytes]:
    for n in range(count):
        yield json.dumps({"kind": "visitor", "id": f"v-{n}", "version": 1, "given_name": "Anna"}).encode()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = Directory.open(tmp_path / "directory.db", KEY, "milano-01")
    yield opened
    opened.close()


@pytest.fixture
def importer(directory: Directory, tmp_path: Path) -> Importer:
    return Importer(tmp_path / "directory.db", KEY, "milano-01", directory)


def test_a_large_body_lands_with_its_lines_problems_and_changes(
    directory: Directory, importer: Importer
) -> None:
    clerk = b'{"kind":"clerk","id":"marco","version":1}'
    lines = [b"", *visitors(2_500), b"{", clerk]
    result = importer.put(lines, "platform", AT)
    assert (result.accepted, result.unchanged) == (2_501, 0)
    assert [number for number, _ in result.quarantined] == [2_502]
    assert [change.subject.id for change in result.changed] == ["marco"]
    assert directory.counts()["visitor"] == 2_500
    again = importer.put(lines, "platform", AT)
    assert (again.accepted, again.unchanged, again.changed) == (0, 2_501, [])
    assert directory.quarantine_count() == 1


def test_the_daemon_writes_its_audit_meanwhile(directory: Directory, importer: Importer) -> None:
    done = threading.Event()
    loaded: list[int] = []
    slowest = 0.0
    written = 0

    def load() -> None:
        try:
            loaded.append(importer.put(visitors(8_000), "platform", AT).accepted)
        finally:
            done.set()

    thread = threading.Thread(target=load)
    thread.start()
    while not done.is_set():
        before = time.monotonic()
        directory.audit("clerk:marco", "dossier", "v-1", None, AT)
        slowest = max(slowest, time.monotonic() - before)
        written += 1
    thread.join()
    assert loaded == [8_000]
    assert directory.counts()["visitor"] == 8_000
    assert len(directory.audit_rows(limit=1_000_000)) == written
    assert slowest < 10


def test_a_child_that_dies_leaves_whole_transactions(
    directory: Directory, importer: Importer, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def watched(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        children.append(real(*args, **kwargs))  # type: ignore[call-overload]  # passed on as they came
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", watched)

    def feed() -> Iterator[bytes]:
        yield from visitors(3_500)
        deadline = time.monotonic() + 60
        while directory.counts().get("visitor", 0) < 2_000 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(children[0].pid, signal.SIGKILL)
        yield from visitors(1)

    with pytest.raises(PeerError, match="import-failed"):
        importer.put(feed(), "platform", AT)
    landed = directory.counts()["visitor"]
    assert landed >= 2_000
    assert landed % 1_000 == 0
    result = importer.put(visitors(3_500), "platform", AT)
    assert (result.accepted, result.unchanged) == (3_500 - landed, landed)


def test_a_child_whose_parent_dies_does_not_take_half_a_line_for_a_whole(tmp_path: Path) -> None:
    order = {"path": str(tmp_path / "directory.db"), "key": KEY.hex(), "store": "s", "source": "p"}
    first = json.dumps({**order, "at": AT.isoformat()}).encode()
    cut = b'{"kind":"clerk","id":"marco","version":1}'
    frames = len(first).to_bytes(4, "big") + first + len(cut).to_bytes(4, "big") + cut[:-5]
    child = subprocess.run(
        [sys.executable, "-m", "gateway.shell.importer"], input=frames, check=False, timeout=60
    )
    assert child.returncode == 3
    opened = Directory.open(tmp_path / "directory.db", KEY, "s")
    try:
        assert (opened.counts(), opened.quarantine_count()) == ({}, 0)
    finally:
        opened.close()


def test_a_child_that_takes_too_long_is_ended(directory: Directory, tmp_path: Path) -> None:
    slow = Importer(tmp_path / "directory.db", KEY, "milano-01", time_limit=0.05)
    with pytest.raises(PeerError, match="import-failed"):
        slow.put(visitors(300), "platform", AT)
    patient = Importer(tmp_path / "directory.db", KEY, "milano-01")
    assert patient.put(visitors(300), "platform", AT).accepted == 300


def test_two_writers_take_turns_and_one_that_never_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Connections(tmp_path / "d.db"), Connections(tmp_path / "d.db")
    monkeypatch.setattr(directory_connections, "TURN_SECONDS", 0.1)
    try:
        with first.writing(), pytest.raises(PeerError, match="directory-busy"), second.writing():
            pass
        with second.writing() as db:  # the turn was given back
            db.execute("INSERT INTO audit (at, who, action) VALUES (1, 'x', 'y')")
        with first.reading() as db:
            assert db.execute("SELECT count(*) FROM audit").fetchone() == (1,)
    finally:
        first.close()
        second.close()


def _write_and_fail(db: Any) -> None:
    db.execute("INSERT INTO audit (at, who, action) VALUES (1, 'x', 'y')")
    raise KeyError


def test_a_block_that_raises_is_rolled_back_and_a_reader_cannot_write(tmp_path: Path) -> None:
    connections = Connections(tmp_path / "d.db")
    try:
        with pytest.raises(KeyError), connections.writing() as db:
            _write_and_fail(db)
        with connections.reading() as db:
            assert db.execute("SELECT count(*) FROM audit").fetchone() == (0,)
            assert db.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        with connections.writing() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)
            assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with pytest.raises(Exception, match="readonly"), connections.reading() as db:
            db.execute("DELETE FROM audit")
    finally:
        connections.close()
