"""What it was measured on: numbers without this mean nothing."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from statistics import median
from typing import Any

from gateway.core.errors import PeerError
from gateway.shell.log_file import sqlite3
from gateway.shell.nats_server import find_server
from tests.rigs.mosquitto import BINARY

_SYNCS = 100


def describe(folder: Path) -> dict[str, Any]:
    """Processor, kernel, versions, the disk's fsync, and how busy the machine was at the start."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "mosquitto": _version([str(BINARY), "-h"]),
        "nats-server": _version([str(_nats()), "--version"]),
        "file_system": _file_system(folder),
        "fdatasync_us": round(_sync_seconds(folder) * 1e6),
        "load_average": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _nats() -> Path | None:
    try:
        return find_server()
    except PeerError:
        return None


def _version(command: list[str]) -> str | None:
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", told.stdout + told.stderr)
    return found[0] if found else None


def _file_system(folder: Path) -> str:
    kind = "?"
    best = 0
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, name, *_ = line.split()
        if str(folder.resolve()).startswith(mount) and len(mount) >= best:
            best, kind = len(mount), name
    return kind


def _sync_seconds(folder: Path) -> float:
    """The median of appending 16 KB durably."""
    handle = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    took = []
    for _ in range(_SYNCS):
        os.write(handle, b"x" * 16_384)
        begin = time.perf_counter()
        os.fdatasync(handle)
        took.append(time.perf_counter() - begin)
    os.close(handle)
    return median(took)
