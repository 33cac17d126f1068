"""A rule with a bug: one command or one visit suffers from it, and neither the engine nor anybody else."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from gateway.core import commands as cmd
from gateway.core.decide import decide
from gateway.core.decision import Decision
from gateway.core.errors import LogError
from gateway.core.model import Finding, Proof, Rules, Technology
from gateway.core.receipts import Outcome, Receipt
from gateway.core.state import State
from gateway.shell import engine as engines
from gateway.shell.engine import Engine
from gateway.testing import MemoryLog

SOON = timedelta(milliseconds=50)
RULES = Rules(delivered=SOON, backup=2 * SOON, pool=3 * SOON, manager=4 * SOON)


def arrive(engine: Engine, visitor: str) -> Receipt:
    finding = Finding("loyalty", Proof.HELD, (visitor,))
    command = cmd.RecordRead(
        id=f"read:door-1:{visitor}",
        at=datetime.now(UTC),
        read=visitor,
        reader="door-1",
        zone="door",
        technology=Technology.QR,
        finding=finding,
    )
    return engine.submit(command).result(10)


def visit_of(state: State, visitor: str) -> str:
    return next(visit.id for visit in state.visits.values() if visit.visitor == visitor)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.005)


def test_a_deadline_whose_rule_fails_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cursed: list[str] = []

    def faulty(state: State, command: cmd.Command, rules: Rules) -> Decision:
        if isinstance(command, cmd.Tick) and set(cursed) & set(command.subjects):
            raise ZeroDivisionError
        return decide(state, command, rules)

    monkeypatch.setattr(engines, "decide", faulty)
    fatal: list[LogError] = []
    engine = Engine(MemoryLog("milano-01"), RULES, lambda: datetime.now(UTC), b"key", fatal.append)
    engine.start()
    try:
        arrive(engine, "v-cursed")
        cursed.append(visit_of(engine.state, "v-cursed"))
        arrive(engine, "v-other")
        other = visit_of(engine.state, "v-other")
        until(lambda: engine.state.visits[other].level == "manager")
        failures = engine.rule_failures
        assert 0 < failures < 20, "it is not asked again and again"
        time.sleep(4 * SOON.total_seconds())
        assert engine.rule_failures == failures
        assert arrive(engine, "v-later").outcome is Outcome.ACCEPTED
    finally:
        engine.stop()
    assert not fatal
