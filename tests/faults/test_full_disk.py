"""The disk is full: the daemon says so and ends, acknowledges nothing more, and loses nothing when it is back."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.rigs.broken import acknowledges_before_commit, program
from tests.rigs.daemon import HERE, opened
from tests.rigs.days import beside_mosquitto
from tests.rigs.mosquitto import needs_mosquitto
from tests.rigs.ordeal import (
    SCOPES,
    RemoteReader,
    Tablet,
    account,
    events_on_disk,
    populate,
    settle,
    verified_events,
)

SIZE = 8 * 1024 * 1024
SPARE = 300 * 1024
VISITORS = 2_000
ROUNDS = 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


class Full:
    """A store on a disk that fills up while a remote reader reads."""

    def __init__(self, folder: Path, disk: Path, undo: ExitStack, run: Sequence[str] = HERE) -> None:
        self.daemon, broker = beside_mosquitto(folder, SCOPES, program=run, data=disk / "data")
        broker.start()
        undo.callback(broker.stop)
        undo.enter_context(opened(self.daemon))
        self.daemon.start()
        populate(self.daemon, VISITORS)
        self.reader, self.tablet = RemoteReader(self.daemon, pause=0.002), Tablet(self.daemon)
        undo.callback(self.reader.close)
        undo.callback(self.tablet.close)
        self.ballast = disk / "ballast"

    def fill(self) -> int:
        """Leave almost no room, and wait for the daemon's end; the exit code."""
        enough = len(self.reader.answered) + 20
        while len(self.reader.answered) < enough:
            time.sleep(0.01)
        room = os.statvfs(self.ballast.parent)
        with self.ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - SPARE, 4096))
        code: int = self.daemon.child.wait(60)
        return code


@needs_mosquitto
def test_a_full_disk_ends_the_daemon_and_loses_nothing(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ExitStack() as undo:
        store = Full(tmp_path / "store", small_disk, undo)
        assert store.fill() == 1
        said = store.daemon.said
        assert "is full" in said
        assert "disk-full" in said
        kept = account(events_on_disk(store.daemon), dict(store.reader.answered))
        assert not kept.lost, kept

        assert store.daemon.spawn().wait(60) == 1, "there is no room to begin again either"
        assert "Traceback" not in store.daemon.said, store.daemon.said[-3000:]
        kept = account(events_on_disk(store.daemon), dict(store.reader.answered))
        assert not kept.lost, kept

        store.ballast.unlink()
        store.daemon.start()
        store.reader.finish()
        settle(store.daemon, store.tablet, 60)
        found = account(verified_events(store.daemon), store.reader.answered)
        with capsys.disabled():
            print(f"\n  a full disk after {kept.acknowledged} acknowledged reads; then {found}")
        assert found.clean, found
        assert found.acknowledged > kept.acknowledged


@needs_mosquitto
def test_a_gateway_that_acknowledges_before_it_commits_is_caught(tmp_path: Path, small_disk: Path) -> None:
    with ExitStack() as undo:
        store = Full(tmp_path / "store", small_disk, undo, program(acknowledges_before_commit))
        for _ in range(ROUNDS):  # the group that did not fit may have held no read
            assert store.fill() == 1
            if account(events_on_disk(store.daemon), dict(store.reader.answered)).lost:
                return
            store.ballast.unlink()
            store.daemon.start()
        pytest.fail("it was not caught")
