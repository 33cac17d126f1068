"""The log: how soon a daemon with a long one is ready, how fast it replays, and how fast the platform pulls it."""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from gateway.core import events as ev
from gateway.core.evolve import evolve
from gateway.core.model import Proof
from gateway.core.receipts import First, Outcome
from gateway.core.state import State, digest, to_bytes
from gateway.shell.keys import Keys
from gateway.shell.log import Snapshot
from gateway.shell.replay import replay
from gateway.shell.sqlite_log import SqliteLog
from gateway.stores import KEYS, LOG
from sync.outbox import Outbox
from tests.bench import shop as shops
from tests.bench.shop import CLERK, READER, STORE, Running, Shop
from tests.bench.table import Row, alone

_TAIL = 10_000  # events after the snapshot, half of what the engine ever leaves
_A_DAY = 2_000  # visits
_PULLED = 200_000
_LIMIT = 5_000  # events a batch


def rows(count: int, folder: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """Everything that a log of `count` events has to show."""
    shop = shops.make(folder / "journal", 100)
    begin = time.perf_counter()
    written = _write(shop, count)
    say(f"a log of {written:,} events written in {time.perf_counter() - begin:.0f} s")
    imports = median(_import_seconds() for _ in range(3))
    yield alone("imports", imports, "s", at_most=1.5)
    ready, over_http = _daemon(shop)
    yield alone(
        f"ready after the imports, {written:,} events and a snapshot", ready - imports, "s", at_most=2
    )
    log = SqliteLog(shop.data / LOG, STORE)
    try:
        yield alone("sync pull from the log", _pulled_from_log(shop, log), "events/s", at_least=100_000)
        yield alone("sync pull over HTTP, one client", over_http, "events/s", at_least=50_000)
        begin = time.perf_counter()
        replay(log, use_snapshot=False)
        took = time.perf_counter() - begin
        yield alone("replay, each event verified", log.head[0] / took, "events/s", at_least=100_000)
    finally:
        log.close()
    shutil.rmtree(shop.folder)


def _write(shop: Shop, count: int) -> int:
    """A log as a store's months leave it, with a snapshot some way before its end."""
    log, state = SqliteLog(shop.data / LOG, STORE), State()
    days = count // (_A_DAY * 6) + 1
    at = datetime.now(UTC) - timedelta(days=days)
    snapshot_at, seq = count - _TAIL, 0
    for number in range(count // 6):
        at += timedelta(days=1) / _A_DAY
        events = _visit(f"visit-{number:020d}", at)
        for event in events:
            seq += 1
            state = evolve(state, event, seq)
        log.append(f"bench:{number}", b"-" * 32, First(Outcome.ACCEPTED), events)
        if seq - 6 < snapshot_at <= seq:
            log.save_snapshot(Snapshot(seq, to_bytes(state), digest(state)))
        if number % 500 == 0:
            log.commit()
    log.commit()
    log.close()
    return seq


def _visit(name: str, at: datetime) -> tuple[ev.Event, ...]:
    """What a visit leaves: she is expected, the clerk comes, greets her, and she goes."""
    alert, who = f"alert-{name[-20:]}", f"v-{name[-6:]}"
    later = [at + timedelta(minutes=minutes) for minutes in (1, 2, 30)]
    return (
        ev.VisitOpened(
            at=at,
            visit=name,
            match="expected",
            reasons=("owner", "in-window"),
            zone="door",
            proof=Proof.HINT,
            visitor=who,
            appointment=f"a-{name[-6:]}",
            clerk=CLERK,
            appointment_start=at,
            appointment_end=later[2],
            abandon_at=at + timedelta(hours=12),
            backup_at=later[0],
            pool_at=later[1],
            manager_at=later[2],
        ),
        ev.SightingRecorded(
            at=at,
            visit=name,
            reader=READER,
            zone="door",
            technology="nfc",
            credential_kind="nfc-uid",
            proof=Proof.HINT,
            read=f"r-{name[-6:]}",
        ),
        ev.VisitAlerted(
            at=at,
            visit=name,
            alert=alert,
            level="clerk",
            to=CLERK,
            attempt=1,
            match="expected",
            zone="door",
            appointment_start=at,
            expires_at=later[2],
        ),
        ev.VisitAcknowledged(
            at=later[0], visit=name, clerk=CLERK, closed=(ev.AlertRef(alert=alert, to=CLERK),)
        ),
        ev.VisitGreeted(at=later[1], visit=name, clerk=CLERK),
        ev.VisitClosed(
            at=later[2],
            visit=name,
            reason="done",
            closed=(),
            by=CLERK,
            rescan_until=later[2],
            forget_at=later[2] + timedelta(hours=12),
        ),
    )


def _import_seconds() -> float:
    """From the start of Python to the end of the daemon's imports."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import gateway.cli, gateway.daemon"], check=True)
    return time.perf_counter() - begin


def _daemon(shop: Shop) -> tuple[float, float]:
    """Seconds to ready (median of three starts after a crash), and events a second over HTTP."""
    ready = []
    for _ in range(3):
        with shops.running(shop, kill=True) as daemon:
            ready.append(daemon.seconds_to_ready)
    with shops.running(shop, kill=True) as daemon:
        return median(ready), _pulled_over_http(daemon)


def _pulled_over_http(daemon: Running) -> float:
    """By the standard library's client, so that the gateway is measured and not httpx."""
    connection = http.client.HTTPConnection(str(daemon.run["api"]).removeprefix("http://"))
    headers = {"authorization": f"Bearer {daemon.shop.tokens['platform']}", "accept-encoding": "identity"}
    begin, count, after = time.perf_counter(), 0, ""
    while count < _PULLED:
        query = urlencode({"limit": _LIMIT, **({"after": after} if after else {})})
        connection.request("GET", f"/api/v1/sync/batches?{query}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body
        if not (number := int(_after(body, b'"count":', b","))):
            break
        count, after = count + number, _after(body, b'"next":"', b'"').decode()
    connection.close()
    return count / (time.perf_counter() - begin)


def _after(body: bytes, mark: bytes, end: bytes) -> bytes:
    """The text between `mark`, where it stands last, and `end`: what a batch says outside of its events."""
    begin = body.rindex(mark) + len(mark)
    return body[begin : body.index(end, begin)]


def _pulled_from_log(shop: Shop, log: SqliteLog) -> float:
    keys = Keys.open(shop.data / KEYS)
    try:
        outbox = Outbox(log, keys.secret("cursor"), keys.signing("batch"), _no_cursor)
        begin, count, after = time.perf_counter(), 0, None
        while count < _PULLED and (batch := outbox.pull(after, _LIMIT))["count"]:
            count, after = count + batch["count"], batch["next"]
        return count / (time.perf_counter() - begin)
    finally:
        keys.close()


def _no_cursor(name: str, seq: int) -> Future[int]:
    raise AssertionError("nothing is acknowledged here")
