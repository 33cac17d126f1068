"""The directory: is a match as quick among a million people as among a thousand, and what does a bulk load cost?"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zoneinfo import ZoneInfo

from gateway.core.matching import Kind, match
from gateway.core.model import Credential, Proof
from gateway.stores import local_day, open_stores
from tests.bench import shop as shops
from tests.bench.alerts import RATE, load_of
from tests.bench.shop import Shop
from tests.bench.table import Row, alone, beside, percentile

_FINDS = 20_000
_VISITS = 2_000  # one store-day


def rows(profiles: int, folder: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """All that a large directory has to show; it is built by the bulk load itself."""
    reads = 2_000 if profiles < 500_000 else 4_000
    small = shops.make(folder / "small", 1_000)
    large = shops.make(folder / "large", reads * 2)
    lines = folder / "profiles.ndjson"
    with lines.open("wb") as file:
        for number in range(reads * 2, profiles):
            file.write(shops.profile(number) + b"\n")
    yield from _bulk(large, lines, reads, profiles - reads * 2, say)
    lines.unlink()
    for name in ("log.db", "log.db-wal", "log.db-shm"):
        (large.data / name).unlink(missing_ok=True)  # a new day, so that everybody may come again
    yield _memory(large, profiles)
    yield from _match(small, large, profiles)
    shutil.rmtree(folder)


def _bulk(shop: Shop, lines: Path, reads: int, count: int, say: Callable[[str], None]) -> Iterator[Row]:
    with shops.running(shop) as daemon:
        load = load_of(daemon.port, shop)
        shots = [shops.shot(number) for number in range(reads * 2)]
        load.flooded(shots[:200], 20)
        idle = load.paced(shots[200:reads], RATE)
        command = [sys.executable, "-m", "tests.bench.sender", str(daemon.run["api"]), str(lines)]
        sender = subprocess.Popen([*command, shop.tokens["platform"]], stdout=subprocess.PIPE)
        during = load.paced(shots[reads : reads * 2], RATE)
        still_loading = sender.poll() is None
        assert sender.stdout is not None
        told = json.loads(sender.stdout.read())
        sender.stdout.close()
        assert sender.wait() == 0
        assert told["accepted"] == count, told
        assert idle.missing + during.missing == 0, "reads that gave no alert"
        load.close()
    if not still_loading:
        say("the load was over before the alerts were: its p99 is in part an idle one")
    yield alone(
        f"bulk load of {count:,} profiles over HTTP", count / told["seconds"], "records/s", at_least=10_000
    )
    before, loaded = (percentile(each.seconds, 0.99) * 1e3 for each in (idle, during))
    yield beside("alerts' p99 during it (floor: before it)", before, loaded, "ms", at_most=2)


def _memory(shop: Shop, profiles: int) -> Row:
    with shops.running(shop) as daemon:
        load = load_of(daemon.port, shop)
        load.flooded([shops.shot(number, "day") for number in range(_VISITS)], 20)
        load.close()
        with daemon.client() as client:
            client.get("/api/v1/sync/batches", params={"limit": 500}).raise_for_status()
        resident = daemon.resident_megabytes()
    what = f"resident memory, {profiles:,} profiles, {_VISITS:,} visits"
    return alone(what, resident, "MB", at_most=150)


def _match(small: Shop, large: Shop, profiles: int) -> Iterator[Row]:
    few, many = [], []
    for _ in range(3):
        few.append(_find_seconds(small, 1_000))
        many.append(_find_seconds(large, profiles))
    few_p99, many_p99 = (median(percentile(run, 0.99) for run in runs) * 1e3 for runs in (few, many))
    yield beside(f"match p99, {profiles:,} profiles (floor: 1,000)", few_p99, many_p99, "ms", at_most=2)
    yield alone(f"match p99, {profiles:,} profiles", many_p99, "ms", at_most=0.3)


def _find_seconds(shop: Shop, profiles: int) -> list[float]:
    """Look up random cards and match them."""
    settings = shops.settings_of(shop)
    stores, zone = open_stores(settings), ZoneInfo(settings.store.time_zone)
    dice, took = random.Random(1), list[float]()
    try:
        for _ in range(_FINDS):
            card = Credential("nfc-uid", shops.card(dice.randrange(profiles)), Proof.HINT)
            begin = time.perf_counter()
            at = datetime.now(UTC)
            found = match(stores.directory.find((card,), at, local_day(at, zone)), at, settings.rules)
            took.append(time.perf_counter() - begin)
            assert found.kind in (Kind.EXPECTED, Kind.KNOWN)
    finally:
        stores.close()
    return took
