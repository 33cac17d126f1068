"""ThingsBoard's IoT gateway, its real SQLite storage: one event put → readable, beside one of ours.

Its package goes into a virtual environment of its own that is thrown away. Ours is durable when it is readable,
theirs is not; that is part of the comparison.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from gateway.core import commands as cmd
from gateway.core.model import Rules
from gateway.shell.engine import Engine
from gateway.shell.sqlite_log import SqliteLog
from tests.bench.table import Row, not_run, sooner

PACKAGE = "thingsboard-gateway"
WHAT = "one event put → readable (peer: ThingsBoard gateway's SQLite storage), p50"
_EVENTS = 100

_THEIRS = """
import json, logging, sys, time
from pathlib import Path
from threading import Event
logging.disable(logging.CRITICAL)
logging.Logger.trace = logging.Logger.debug  # their gateway's own logger has it
from thingsboard_gateway.storage.sqlite.sqlite_event_storage import SQLiteEventStorage
folder, count, body = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
config = {"data_file_path": str(folder) + "/", "messages_ttl_in_days": 7, "max_read_records_count": 1000,
          "size_limit": 1024, "max_db_amount": 10, "oversize_check_period": 1, "writing_batch_size": 1000}
storage = SQLiteEventStorage(config, logging.getLogger("bench"), Event())
took = []
for number in range(count):
    begin = time.perf_counter()
    assert storage.put(body)
    while not storage.get_event_pack():
        time.sleep(0.0002)
    took.append(time.perf_counter() - begin)
    storage.event_pack_processing_done()
    while storage.get_event_pack():
        time.sleep(0.001)
print("RESULT " + json.dumps(took), flush=True)
import os
os._exit(0)
"""


def row(wanted: bool, folder: Path, say: Callable[[str], None]) -> Row:
    """Install, measure both, compare."""
    if not wanted:
        return not_run(WHAT, "not run: needs the network, ask for it with --peer")
    folder.mkdir(parents=True)
    python = folder / "venv" / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True, timeout=120)
        install = [str(python), "-m", "pip", "install", "--quiet", PACKAGE]
        subprocess.run(install, check=True, timeout=300, capture_output=True, text=True)
        theirs = _theirs(python, folder)
    except (subprocess.SubprocessError, OSError) as error:
        say(f"{PACKAGE}: {error} {(getattr(error, 'stderr', '') or '')[-1500:]}")
        return not_run(WHAT, f"not run: {type(error).__name__}")
    ours = _ours(folder)
    return sooner(WHAT, median(theirs) * 1e3, median(ours) * 1e3, "ms", at_least=100)


def _theirs(python: Path, folder: Path) -> list[float]:
    (folder / "theirs").mkdir()
    command = [
        str(python),
        "-c",
        _THEIRS,
        str(folder / "theirs"),
        str(_EVENTS),
        json.dumps({"event": "x" * 160}),
    ]
    told = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    found: list[float] = json.loads(told.stdout.partition("RESULT ")[2])
    return found


def _ours(folder: Path) -> list[float]:
    """A command submitted until its event can be read from the log, committed with an fsync."""
    log = SqliteLog(folder / "log.db", "bench-01")
    failures: list[Exception] = []
    engine = Engine(log, Rules(), lambda: datetime.now(UTC), b"k" * 32, failures.append)
    engine.start()
    took = []
    try:
        for number in range(_EVENTS):
            begin = time.perf_counter()
            at, before = datetime.now(UTC), log.head[0]
            name = f"read:door-1:{number}"
            engine.submit(
                cmd.RefuseRead(
                    id=name, at=at, read=name, reader="door-1", technology="qr", reason="x", zone=None
                )
            ).result(20)
            assert log.read(before, 1)
            took.append(time.perf_counter() - begin)
    finally:
        engine.stop()
        log.close()
    assert not failures, failures
    return took
