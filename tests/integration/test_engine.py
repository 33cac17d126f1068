"""The engine over the real log: what is promised when. What a restart and a failing disk do: test_engine_disk.py."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.core import commands as cmd
from gateway.core.decide import decide
from gateway.core.errors import Refused
from gateway.core.model import Clerk, Finding, Proof, Rules
from gateway.core.receipts import First, Outcome, Receipt
from gateway.core.state import State
from gateway.shell import engine as engine_module
from gateway.shell.engine import GROUP
from gateway.shell.sqlite_log import SqliteLog
from tests.rigs.engine_room import PATIENCE, TEN, Open, Shop, alerts, arrival, done, receipts_of


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


# -- commit precedes every effect


class NosyLog(SqliteLog):
    """Notes what another connection sees of each command before the commit."""

    seen: ClassVar[list[int]] = []

    def append(self, command_id: str, body_hash: bytes, first: First, events: Any) -> Any:
        sealed = super().append(command_id, body_hash, first, events)
        self.seen.append(receipts_of(self._path, command_id))
        return sealed


def test_a_receipt_is_given_after_the_commit_and_not_before(shop: Open) -> None:
    here = shop(kind=NosyLog)
    NosyLog.seen.clear()
    after: list[int] = []

    def look(n: int, future: Future[Receipt]) -> None:
        after.append(receipts_of(here.path, f"dev:r{n}"))

    futures = [here.lost(f"r{n}") for n in range(20)]
    for n, future in enumerate(futures):
        future.add_done_callback(partial(look, n))
    here.engine.start()
    for seq, future in enumerate(futures, 1):
        assert done(future) == Receipt(f"dev:r{seq - 1}", Outcome.ACCEPTED, seq=seq)
    here.engine.stop()  # whose thread runs the callbacks
    assert NosyLog.seen == [0] * 20
    assert after == [1] * 20


def test_the_state_shows_only_what_is_committed(shop: Open) -> None:
    here = shop()
    seen: list[tuple[int, int, int]] = []
    here.engine.on_commit(
        lambda: seen.append((*here.log.head[:1], here.engine.committed[0], len(here.engine.state.readers)))
    )
    here.engine.start()
    for n in range(3):
        done(here.lost(f"r{n}"))
    here.engine.stop()
    assert seen == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]


def test_whoever_no_longer_listens_is_not_woken(shop: Open) -> None:
    here = shop()
    wakes: list[int] = []
    stop = here.engine.on_commit(lambda: wakes.append(1))
    here.engine.start()
    done(here.lost("r1"))
    stop()
    done(here.lost("r2"))
    here.engine.stop()
    assert wakes == [1]


# -- identity


def test_a_repeat_hears_the_first_outcome(shop: Open) -> None:
    here = shop()
    refused = cmd.SetDuty(id="cmd:marco:1", at=TEN, clerk="marco", duty="paused")
    here.engine.start()
    assert done(here.lost("r1", b"said")).outcome is Outcome.ACCEPTED
    assert done(here.lost("r1", b"said")) == Receipt(
        "dev:r1", Outcome.REPEATED, seq=1, first=First(Outcome.ACCEPTED)
    )
    assert done(here.engine.submit(refused)).reason == "unknown-clerk"
    # By now the clerk is known; the first answer still is the answer.
    done(here.engine.submit(cmd.RosterClerk(id="dir:clerk:marco:1", at=TEN, clerk=Clerk("marco"))))
    again = done(here.engine.submit(refused))
    assert again.outcome is Outcome.REPEATED
    assert again.first == First(Outcome.REFUSED, "unknown-clerk")
    assert len(here.names()) == 2


def test_a_repeat_in_the_same_group_and_after_a_restart(shop: Open) -> None:
    here = shop()
    first, again = here.lost("r1", b"said"), here.lost("r1", b"said")
    here.engine.start()
    assert (done(first).outcome, done(again).outcome) == (Outcome.ACCEPTED, Outcome.REPEATED)
    here.close()
    there = shop()
    there.engine.start()
    assert done(there.lost("r1", b"said")).outcome is Outcome.REPEATED


def test_the_same_id_for_something_else_is_refused(shop: Open) -> None:
    here = shop()
    here.engine.start()
    done(here.lost("r1", b"said"))
    other = done(here.lost("r1", b"said something else"))
    assert (other.outcome, other.reason) == (Outcome.REFUSED, "id-reused")
    assert done(here.lost("r1", b"said")).outcome is Outcome.REPEATED  # and forgets nothing over it
    assert len(here.names()) == 1


def test_what_was_said_is_kept_only_as_a_keyed_hash(shop: Open) -> None:
    here = shop()
    here.engine.start()
    done(here.lost("r1", b"04A2B3C4D5E6F7"))
    here.close()
    disk = b"".join(path.read_bytes() for path in here.path.parent.iterdir())
    assert b"04A2B3C4D5E6F7" not in disk
    assert b"dev:r1" in disk  # so the search would have found it


# -- one writer, groups


def test_what_has_queued_is_one_commit_in_order(shop: Open) -> None:
    here = shop()
    count = 2 * GROUP + 7
    futures = [here.lost(f"r{n}") for n in range(count)]
    here.engine.start()
    assert [done(f).seq for f in futures] == list(range(1, count + 1))
    here.engine.stop()
    assert here.engine.groups == 3
    bodies = here.rows("SELECT json_extract(CAST(body AS TEXT), '$.subject') FROM events ORDER BY seq")
    assert [row[0] for row in bodies] == [f"r{n}" for n in range(count)]


def test_many_submitters_lose_nothing(shop: Open) -> None:
    here = shop()
    here.engine.start()
    receipts: list[Receipt] = []

    def submit(who: int) -> None:
        receipts.extend(done(f) for f in [here.lost(f"r{who}-{n}") for n in range(100)])

    threads = [threading.Thread(target=submit, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(r.seq or 0 for r in receipts) == list(range(1, 401))
    assert here.engine.groups < 400


def test_a_full_inbox_refuses_at_the_door(shop: Open) -> None:
    here = shop(inbox_size=3)
    queued = [here.lost(f"r{n}") for n in range(3)]
    turned_away = here.lost("r3")
    assert turned_away.done()
    assert (done(turned_away).outcome, done(turned_away).reason) == (Outcome.REFUSED, "busy")
    assert here.engine.queued == 3
    here.engine.start()
    assert [done(f).outcome for f in queued] == [Outcome.ACCEPTED] * 3
    # Nothing remembers the one that was turned away: it may come again under the same id.
    assert done(here.lost("r3")).outcome is Outcome.ACCEPTED


def test_stop_commits_all_that_has_queued(shop: Open) -> None:
    here = shop(inbox_size=2_000)
    futures = [here.lost(f"r{n}") for n in range(2_000)]
    here.engine.start()
    here.engine.stop()
    assert all(future.done() and done(future).outcome is Outcome.ACCEPTED for future in futures)
    assert len(here.names()) == 2_000
    assert done(here.lost("late")).reason == "busy"


# -- cursors


def test_nobody_waits_for_ever_on_an_engine_that_has_ended(shop: Open) -> None:
    here = shop()
    here.engine.start()
    many = threading.Event()
    told: list[Future[Receipt]] = []

    def keep_submitting() -> None:
        for number in range(3_000):
            told.append(here.lost(f"racing-{number}"))
            many.set()

    racing = threading.Thread(target=keep_submitting)
    racing.start()
    many.wait(PATIENCE)
    here.engine.stop()
    racing.join()
    assert {done(each).reason for each in told} <= {None, "busy"}
    assert done(here.lost("too late")).reason == "busy"
    with pytest.raises(Refused, match="busy"):
        here.engine.move_cursor("platform", 1).result(PATIENCE)


def test_a_noted_cursor_rides_on_the_next_commit(shop: Open) -> None:
    here = shop()
    here.engine.note_cursor("alerts", 5)
    here.engine.note_cursor("alerts", 7)
    receipt = here.lost("r1")
    here.engine.start()
    done(receipt)
    assert here.rows("SELECT name, seq FROM cursors") == [("alerts", 7)]
    assert here.engine.groups == 1


def test_a_noted_cursor_is_not_forgotten_where_nothing_else_happens(shop: Open) -> None:
    here = shop()
    here.engine.start()
    here.engine.note_cursor("alerts", 5)
    here.engine.stop()
    assert here.rows("SELECT name, seq FROM cursors") == [("alerts", 5)]


def test_a_moved_cursor_is_durable_and_never_goes_back(shop: Open) -> None:
    here = shop()
    here.engine.start()
    assert here.engine.move_cursor("platform", 9).result(PATIENCE) == 9
    assert here.rows("SELECT seq FROM cursors WHERE name = 'platform'") == [(9,)]
    assert here.engine.move_cursor("platform", 4).result(PATIENCE) == 9


# -- time


def test_timers_fire_when_the_clock_says_so(shop: Open) -> None:
    here = shop()
    here.engine.start()
    done(here.engine.submit(arrival(TEN)))
    here.now.at = TEN + timedelta(seconds=4)
    done(here.lost("r1"))
    assert len(alerts(here)) == 1
    here.now.at = TEN + timedelta(seconds=5)
    here.until(lambda: len(alerts(here)) == 2)
    here.now.at = TEN + timedelta(seconds=60)
    here.until(lambda: len(alerts(here)) == 4)
    here.engine.stop()
    assert alerts(here) == [
        ("clerk", "marco", 1, 0),
        ("clerk", "marco", 2, 5),
        ("clerk", "marco", 3, 60),
        ("pool", None, 1, 60),
    ]


def test_what_fell_due_while_the_gateway_was_off_is_done_at_the_start(shop: Open) -> None:
    here = shop()
    here.engine.start()
    done(here.engine.submit(arrival(TEN)))
    here.close()
    there = shop()
    there.now.at = TEN + timedelta(minutes=4)
    there.engine.start()
    there.until(lambda: len(alerts(there)) >= 3)
    there.engine.stop()
    assert alerts(there)[1:] == [("pool", None, 1, 240), ("clerk", "marco", 2, 240)]


def test_time_passes_before_the_commands_that_came_after(shop: Open) -> None:
    here = shop()
    done_first = here.engine.submit(arrival(TEN))
    here.engine.start()
    done(done_first)
    here.now.at = TEN + timedelta(seconds=60)
    coming = cmd.ClerkAction(
        id="cmd:marco:1",
        at=here.now(),
        clerk="marco",
        visit=next(iter(here.engine.state.visits)),
        action="coming",
    )
    done(here.engine.submit(coming))
    names = here.names()
    assert names.index("soglia.visit.escalated.v1") < names.index("soglia.visit.acknowledged.v1")


# -- mistakes of our own


def test_a_rule_that_fails_refuses_its_command_and_nothing_else(shop: Open) -> None:
    here = shop()
    nonsense = here.engine.submit(cmd.Command(id="cmd:x:1", at=TEN))
    here.engine.start()
    assert (done(nonsense).outcome, done(nonsense).reason) == (Outcome.REFUSED, "rule-failed")
    assert done(here.lost("r1")).outcome is Outcome.ACCEPTED
    assert here.engine.rule_failures == 1
    assert here.fatal == []


def test_a_subject_whose_rule_fails_holds_back_no_other(shop: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    here = shop()
    here.engine.start()
    bruno = Finding("loyalty", Proof.HELD, ("v-bruno",))
    for number, finding in enumerate((arrival(TEN).finding, bruno)):
        read = arrival(TEN, f"r{number}")
        done(here.engine.submit(replace(read, finding=finding)))
    poisoned = next(v.id for v in here.engine.state.visits.values() if v.visitor == "v-anna")

    def fails_on_anna(state: State, command: cmd.Command, rules: Rules) -> Any:
        if isinstance(command, cmd.Tick) and poisoned in command.subjects:
            raise ZeroDivisionError
        return decide(state, command, rules)

    monkeypatch.setattr(engine_module, "decide", fails_on_anna)
    here.now.at = TEN + timedelta(minutes=10)
    here.until(lambda: any(e == ("manager", None, 1, 600) for e in alerts(here)))
    assert done(here.lost("r1")).outcome is Outcome.ACCEPTED
    here.engine.stop()
    assert here.fatal == []
    late = [s.event.subject for s in here.log.read(0, 1_000) if s.event.at > TEN]
    assert poisoned not in late
