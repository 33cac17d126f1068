"""The outbox over the log on disk, pulled as a platform would."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import events as ev
from gateway.core.chain import Sealed
from gateway.core.errors import LogError, PeerError, Refused
from gateway.core.receipts import First, Outcome
from gateway.shell.keys import SigningKey
from gateway.shell.sqlite_log import SqliteLog
from gateway.testing import FakePlatform, MemoryLog, Position
from sync import batch
from sync.batch import Cursor
from sync.outbox import FOLLOWER, MAX_BYTES, Outbox

AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
KEY = b"k" * 32
SIGNING = SigningKey.from_seed(b"\x07" * 32)


def fill(log: SqliteLog | MemoryLog, count: int, text: str = "gone") -> None:
    start = log.head[0]
    for n in range(start, start + count):
        event = ev.ReaderLost(at=AT + timedelta(seconds=n), reader=f"door-{n + 1}", reason=text)
        log.append(f"c{n}", b"", First(Outcome.ACCEPTED), [event])
    log.commit()


def outbox_over(log: SqliteLog | MemoryLog) -> Outbox:
    """The engine's part, on this thread: move the cursor, commit, answer."""

    def move(name: str, seq: int) -> Future[int]:
        log.move_cursor(name, seq)
        log.commit()
        moved: Future[int] = Future()
        moved.set_result(log.cursor(name))
        return moved

    return Outbox(log, KEY, SIGNING, move)


def verify(pulled: Any, after: Position | None) -> Position:
    return batch.verify(pulled, SIGNING.public, after)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SqliteLog]:
    log = SqliteLog(tmp_path / "log.db", "milano-01", tail=7)
    yield log
    log.close()


@pytest.fixture
def outbox(log: SqliteLog) -> Outbox:
    return outbox_over(log)


# -- pulling


def test_an_empty_log(outbox: Outbox, log: SqliteLog) -> None:
    pulled = outbox.pull(None, 10)
    assert tuple(pulled) == batch.FIELDS
    assert (pulled["store"], pulled["epoch"]) == ("milano-01", log.epoch)
    assert (pulled["first_seq"], pulled["last_seq"], pulled["count"], pulled["high_water"]) == (1, 0, 0, 0)
    assert pulled["prev_hash"] == pulled["hash"] == log.genesis
    assert verify(pulled, None) == (0, log.genesis)
    fill(log, 2)
    after = outbox.pull(pulled["next"], 10)
    assert verify(after, (0, log.genesis)) == log.head
    end = outbox.pull(after["next"], 10)
    assert (end["first_seq"], end["last_seq"], end["count"], end["high_water"]) == (3, 2, 0, 2)
    assert end["prev_hash"] == end["hash"] == after["hash"]
    assert end["next"] == after["next"]
    assert verify(end, log.head) == log.head


@pytest.mark.parametrize("limit", [1, 3, 7, 5000])
def test_batches_are_contiguous_chained_signed_and_the_stored_bytes(
    outbox: Outbox, log: SqliteLog, limit: int
) -> None:
    fill(log, 30)
    platform = FakePlatform(outbox.pull, outbox.acknowledge, verify)
    assert platform.catch_up(limit) == 30
    assert platform.events == [one.body for one in log.read(0, 100)]
    assert platform.position == log.head
    assert platform.acknowledged == outbox.acknowledged == log.cursor(FOLLOWER) == 30


def test_a_pull_is_repeatable_also_after_a_restart(outbox: Outbox, log: SqliteLog, tmp_path: Path) -> None:
    fill(log, 20)
    cursor = outbox.pull(None, 4)["next"]
    pulls = [outbox.pull(cursor, 9) for _ in range(3)]
    assert pulls[0] == pulls[1] == pulls[2]
    log.close()
    again = SqliteLog(tmp_path / "log.db", "milano-01")
    fill(again, 5)
    assert outbox_over(again).pull(cursor, 9) == {**pulls[0], "high_water": 25}
    again.close()


def test_a_batch_stops_at_about_four_megabytes(outbox: Outbox, log: SqliteLog) -> None:
    fill(log, 12, "x" * (MAX_BYTES // 5))
    fill(log, 1, "x" * (MAX_BYTES + 1))
    platform = FakePlatform(outbox.pull, outbox.acknowledge, verify)
    sizes = []
    while got := platform.poll(5000):
        sizes.append(got)
    assert sizes == [4, 4, 4, 1]


@pytest.mark.parametrize("limit", [0, -1, 5001])
def test_the_limit_has_bounds(outbox: Outbox, limit: int) -> None:
    with pytest.raises(Refused) as error:
        outbox.pull(None, limit)
    assert error.value.reason == "limit-invalid"


def test_a_log_that_is_not_whole_is_not_handed_out(outbox: Outbox, log: SqliteLog) -> None:
    fill(log, 20)
    log._db.execute("DELETE FROM events WHERE seq = 5")
    with pytest.raises(LogError) as error:
        outbox.pull(None, 10)
    assert error.value.reason == "log-broken"


def test_pulling_while_the_engine_appends(outbox: Outbox, log: SqliteLog) -> None:
    done = threading.Event()

    def pull_all() -> list[int]:
        platform = FakePlatform(outbox.pull, lambda cursor: 0, verify)
        while True:
            last = done.is_set()
            if not platform.poll(11) and last:
                return [json.loads(body)["sequence"] for body in platform.events]

    with ThreadPoolExecutor(2) as pool:
        pulls = [pool.submit(pull_all) for _ in range(2)]
        try:
            for _ in range(60):
                fill(log, 5)
        finally:
            done.set()
        assert [pull.result(timeout=60) for pull in pulls] == [list(range(1, 301))] * 2


# -- acknowledging


def test_acknowledgements_only_move_forward(outbox: Outbox, log: SqliteLog, tmp_path: Path) -> None:
    fill(log, 9)
    early, late = outbox.pull(None, 3)["next"], outbox.pull(None, 8)["next"]
    assert outbox.acknowledge(late).result(0) == 8
    assert outbox.acknowledge(early).result(0) == 8
    assert outbox.acknowledge(late).result(0) == 8
    log.close()
    again = SqliteLog(tmp_path / "log.db", "milano-01")
    assert outbox_over(again).acknowledge(early).result(0) == 8
    again.close()


def test_an_acknowledgement_waits_for_its_commit() -> None:
    log = MemoryLog("milano-01")
    fill(log, 3)
    moved: Future[int] = Future()
    outbox = Outbox(log, KEY, SIGNING, lambda name, seq: moved)
    told = outbox.acknowledge(outbox.pull(None, 2)["next"])
    assert not told.done()
    assert not told.cancel(), "a client that hangs up takes nothing back"
    assert outbox.acknowledged == 0
    moved.set_result(2)
    assert told.result(0) == outbox.acknowledged == 2


@pytest.mark.parametrize("cancelled", [True, False])
def test_an_acknowledgement_that_was_not_committed_fails(cancelled: bool) -> None:
    log = MemoryLog("milano-01")
    fill(log, 3)
    moved: Future[int] = Future()
    outbox = Outbox(log, KEY, SIGNING, lambda name, seq: moved)
    told = outbox.acknowledge(outbox.pull(None, 2)["next"])
    if cancelled:
        moved.cancel()
    else:
        moved.set_exception(LogError("disk-full", "full"))
    assert isinstance(told.exception(0), LogError)
    assert outbox.acknowledged == 0


# -- cursors


def refused(outbox: Outbox, cursor: str) -> set[str]:
    reasons = set()
    for ask in (lambda: outbox.pull(cursor, 5), lambda: outbox.acknowledge(cursor)):
        with pytest.raises(Refused) as error:
            ask()
        reasons.add(error.value.reason)
    return reasons


@pytest.mark.parametrize("text", ["", "1", "AAAA", "é", "=" * 40, "A" * 10_000, "bm90IG91cnM", "\x00"])
def test_a_made_up_cursor_is_refused(outbox: Outbox, text: str) -> None:
    assert refused(outbox, text) == {"cursor-invalid"}


def test_cursors_of_another_key_store_epoch_or_future(outbox: Outbox, log: SqliteLog) -> None:
    fill(log, 5)
    good = Cursor("milano-01", log.epoch, 3)
    assert outbox.pull(good.encode(KEY), 5)["first_seq"] == 4
    assert refused(outbox, good.encode(b"x" * 32)) == {"cursor-invalid"}
    assert refused(outbox, replace(good, store="roma-02").encode(KEY)) == {"cursor-invalid"}
    assert refused(outbox, replace(good, seq=6).encode(KEY)) == {"cursor-invalid"}
    assert refused(outbox, replace(good, epoch="e0").encode(KEY)) == {"cursor-of-another-epoch"}
    with pytest.raises(Refused) as error:
        outbox.pull(replace(good, epoch="e0").encode(KEY), 5)
    assert log.epoch in error.value.detail


@given(st.integers(0, 2**53), st.data())
def test_any_changed_letter_makes_a_cursor_invalid(seq: int, data: st.DataObject) -> None:
    text = Cursor("milano-01", "e1", seq).encode(KEY)
    assert Cursor.decode(text, KEY, store="milano-01", epoch="e1").seq == seq
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCXYZabcxyz0189-_=+/ ").filter(lambda letter: letter != text[at]))
    for forged in (text[:at] + other + text[at + 1 :], text[:at], text + other):
        with pytest.raises(Refused) as error:
            Cursor.decode(forged, KEY, store="milano-01", epoch="e1")
        assert error.value.reason == "cursor-invalid"


# -- what the platform notices


@pytest.fixture
def pulled() -> dict[str, Any]:
    """Events 3 to 6, parsed."""
    log = MemoryLog("milano-01")
    fill(log, 9)
    outbox = outbox_over(log)
    got = outbox.pull(outbox.pull(None, 2)["next"], 4)
    return {**got, "events": [json.loads(body) for body in got["events"]]}


def reason(pulled: Any, after: Position | None = None, signing: SigningKey = SIGNING) -> str:
    with pytest.raises(PeerError) as error:
        batch.verify(pulled, signing.public, after)
    return error.value.reason


def signed(pulled: dict[str, Any]) -> dict[str, Any]:
    """As a store would that lies: signed with the right key."""
    return {**pulled, "signature": batch.base64url(SIGNING.private.sign(batch.signed_bytes(pulled)))}


def test_the_platform_notices_a_wrong_place(pulled: dict[str, Any]) -> None:
    assert verify(pulled, None) == verify(pulled, (2, pulled["prev_hash"])) == (6, pulled["hash"])
    assert reason(pulled, (1, pulled["prev_hash"])) == "batch-gap"
    assert reason(pulled, (3, pulled["prev_hash"])) == "batch-overlap"
    assert reason(pulled, (2, "0" * 64)) == "batch-forked"


@pytest.mark.parametrize("field", batch.SIGNED)
def test_the_platform_notices_a_changed_header(pulled: dict[str, Any], field: str) -> None:
    other = pulled[field] + (1 if isinstance(pulled[field], int) else "0")
    assert reason({**pulled, field: other}) == "batch-signature-wrong"


def test_the_platform_notices_another_key(pulled: dict[str, Any]) -> None:
    assert reason(pulled, signing=SigningKey.from_seed(b"\x08" * 32)) == "batch-signature-wrong"


def test_the_platform_notices_changed_events(pulled: dict[str, Any]) -> None:
    events = pulled["events"]
    assert reason({**pulled, "events": events[:-1]}) == "batch-count-wrong"
    assert reason({**pulled, "events": [*events[:-1], events[-2]]}) == "batch-chain-broken"
    assert reason({**pulled, "events": [events[1], events[0], *events[2:]]}) == "batch-chain-broken"
    touched = {**events[2], "data": {**events[2]["data"], "reason": "changed"}}
    assert reason({**pulled, "events": [*events[:2], touched, events[3]]}) == "batch-chain-broken"
    assert reason(signed({**pulled, "hash": "0" * 64})) == "batch-chain-broken"
    assert reason(signed({**pulled, "count": 5})) == "batch-count-wrong"
    assert reason(signed({**pulled, "first_seq": 4, "last_seq": 7})) == "batch-chain-broken"


@pytest.mark.parametrize(
    "broken", [{}, {"signature": 5}, {"signature": "*"}, {"events": None}, {"events": [1]}]
)
def test_the_platform_notices_nonsense(pulled: dict[str, Any], broken: dict[str, Any]) -> None:
    nonsense = {**pulled, **broken} if broken else {}
    if broken.get("events") == [1]:
        nonsense = signed({**nonsense, "count": 1, "last_seq": 3})
    assert reason(nonsense) == "batch-malformed"


def test_a_store_that_was_replaced_is_a_fork() -> None:
    """Two logs under one name and epoch: what a disk image put back looks like from outside."""
    first, second = MemoryLog("milano-01", "e1"), MemoryLog("milano-01", "e1")
    fill(first, 5)
    fill(second, 5, "another past")
    fill(second, 5)
    platform = FakePlatform(outbox_over(first).pull, lambda cursor: 0, verify)
    platform.catch_up()
    other = outbox_over(second)
    assert reason(other.pull(platform.cursor, 10), platform.position) == "batch-forked"


def test_keys_say_how_to_verify(outbox: Outbox) -> None:
    (key,) = outbox.keys()["keys"]
    assert (key["key_id"], key["algorithm"]) == (outbox.pull(None, 1)["key_id"], "Ed25519")
    assert batch.from_base64url(key["public_key"]) == SIGNING.public.public_bytes_raw()


def test_only_stored_bytes_go_out() -> None:
    body = b'{"not":"even ours"}'
    one = Sealed(1, "t", "p", "h", body)
    built = batch.build(
        store="s",
        epoch="e",
        events=[one],
        after=(0, ""),
        following="c",
        high_water=1,
        sign=SIGNING.private.sign,
        key_id="k",
    )
    assert built["events"] == [body]
