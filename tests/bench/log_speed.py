"""`python -m tests.bench.log_speed [EVENTS]`: the log and the outbox alone, on one thread.

Events per second, the median of three; the mix is what an expected visit gives rise to.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.core import chain
from gateway.core import events as ev
from gateway.core.chain import Sealed
from gateway.core.evolve import evolve
from gateway.core.model import Proof
from gateway.core.receipts import First, Outcome
from gateway.core.state import State
from gateway.shell.keys import SigningKey
from gateway.shell.log import EventLog
from gateway.shell.replay import replay
from gateway.shell.sqlite_log import SqliteLog
from sync import batch
from sync.outbox import Outbox

AT = datetime(2026, 11, 22, 8, tzinfo=UTC)
YES = First(Outcome.ACCEPTED)


def visit(n: int) -> list[ev.Event]:
    """Eight events: planned, opened, sighted, alerted, acknowledged, greeted, serving, closed."""
    at, name, alert, clerk = (
        AT + timedelta(seconds=n),
        f"visit-{n:020d}",
        f"alert-{n:020d}",
        f"clerk-{n % 12}",
    )
    soon, later = at + timedelta(minutes=1), at + timedelta(minutes=30)
    who = {"visitor": f"v-{n}", "clerk": clerk}
    on = {"at": at, "visit": name}
    return [
        ev.AppointmentPlanned(at=at, appointment=f"a-{n}", start=soon, end=later, record_version=1, **who),
        ev.VisitOpened(
            **on, match="expected", reasons=("named", "in-window"), zone="door", proof=Proof.PROVEN,
            appointment=f"a-{n}", appointment_start=soon, appointment_end=later, backup_at=soon,
            pool_at=soon, manager_at=later, abandon_at=later, **who,
        ),
        ev.SightingRecorded(
            **on, reader="door-1", zone="door", technology="qr", credential_kind="appointment",
            proof=Proof.PROVEN, read=f"r-{n}", read_time=at,
        ),
        ev.VisitAlerted(
            **on, alert=alert, level="clerk", to=clerk, attempt=1, match="expected", zone="door",
            appointment_start=soon, redeliver_at=soon, expires_at=later,
        ),
        ev.VisitAcknowledged(**on, clerk=clerk),
        ev.VisitGreeted(**on, clerk=clerk),
        ev.VisitServing(**on, clerk=clerk),
        ev.VisitClosed(**on, reason="served", by=clerk, outcome="sale", rescan_until=soon, forget_at=later),
    ]  # fmt: skip


def rate(count: int, work: Callable[[], object]) -> float:
    """Per second, the median of three."""
    took = []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return count / statistics.median(took)


def write(path: Path, visits: list[list[ev.Event]], group: int) -> float:
    """Append and commit, `group` commands at a time."""
    log = SqliteLog(path, "milano-01")
    begun = time.perf_counter()
    for n, events in enumerate(visits):
        log.append(f"cmd:{n}", b"h" * 32, YES, events)
        if n % group == group - 1:
            log.commit()
    log.commit()
    took = time.perf_counter() - begun
    log.close()
    return sum(map(len, visits)) / took


def pages(log: EventLog) -> Iterator[list[Sealed]]:
    seq = 0
    while page := log.read(seq, 5000):
        yield page
        seq = page[-1].seq


def pull_all(outbox: Outbox, check: Callable[[dict[str, object]], object] = bool) -> None:
    cursor = None
    while (pulled := outbox.pull(cursor, 5000))["count"]:
        check(pulled)
        cursor = str(pulled["next"])


def fold(events: list[Sealed]) -> State:
    state = State()
    for one in events:
        state = evolve(state, one.event, one.seq)
    return state


def whole(log: EventLog) -> list[Sealed]:
    return [one for page in pages(log) for one in page]


def linked(events: list[Sealed], prev: str) -> None:
    for one in events:
        assert chain.intact(one, prev)
        prev = one.hash


def never(name: str, seq: int) -> Future[int]:
    raise NotImplementedError(name, seq)


def run(count: int, place: Path) -> Iterator[tuple[str, float]]:
    visits = [visit(n) for n in range(count // 8)]
    count = len(visits) * 8
    yield "append + commit, 1 command of 8 events a commit", write(place / "one.db", visits[:1000], 1)
    yield "append + commit, 25 commands a commit", write(place / "log.db", visits, 25)
    log = SqliteLog(place / "log.db", "milano-01")
    signing = SigningKey.from_seed(b"\x07" * 32)
    outbox = Outbox(log, b"k" * 32, signing, never)
    events = whole(log)
    yield (
        "seal",
        rate(
            count,
            lambda: [
                chain.seal(e, seq=1, prev_hash="0" * 64, store="s", epoch="e") for v in visits for e in v
            ],
        ),
    )
    yield "read from disk", rate(count, lambda: whole(log))
    yield "outbox.pull from disk", rate(count, lambda: pull_all(outbox))
    yield (
        "outbox.pull + batch.verify",
        rate(count, lambda: pull_all(outbox, lambda b: batch.verify(b, signing.public, None))),
    )
    yield "chain.intact", rate(count, lambda: linked(events, log.genesis))
    yield "chain.unseal", rate(count, lambda: [chain.unseal(one.body) for one in events])
    for one in events:
        _ = one.event
    yield "evolve alone", rate(count, lambda: fold(events))
    yield (
        "replay: read, verify the chain, unseal, evolve",
        rate(count, lambda: replay(log, use_snapshot=False)),
    )
    log.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        for what, speed in run(int(sys.argv[1]) if sys.argv[1:] else 40_000, Path(place)):
            print(f"{what:50} {speed:10,.0f} events/s {1e6 / speed:8.2f} µs")
