"""The quick writer says what `canonical(plain(…))` says, to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.codec import canonical, plain
from gateway.core.events import TYPES, Event
from gateway.core.model import Proof
from gateway.core.state import Alerted, Duty, Planned, Sighted, State, Step, Visit, pieces, to_bytes
from gateway.core.table import Table
from gateway.core.writer import written
from tests.rigs import generated


@dataclass(frozen=True, slots=True)
class Odd:
    """What no event has, but an annotation may say."""

    number: int
    truth: bool
    proof: Proof | None
    when: datetime
    nested: tuple[Step, ...]
    named: Mapping[str, int]


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_event_type_is_written_as_the_slow_way_does(name: str) -> None:
    @given(generated.of(TYPES[name]))
    def same(event: Event) -> None:
        assert written(event).encode() == canonical(plain(event))
        data = plain(event)
        del data["at"]
        assert written(event, "at").encode() == canonical(data)

    same()


@pytest.mark.parametrize("kind", [Alerted, Duty, Planned, Sighted, Visit])
def test_so_is_every_part_of_the_state(kind: type[object]) -> None:
    @given(st.dictionaries(generated.texts, generated.of(kind), max_size=3))
    def same(entries: dict[str, object]) -> None:
        state = State(visits=Table(entries))  # type: ignore[arg-type]  # any table will do for writing
        assert to_bytes(state) == canonical(plain(state))

    same()


def test_a_whole_state_in_pieces_is_the_same_text() -> None:
    at = datetime(2026, 11, 22, 11, tzinfo=timezone(timedelta(hours=1)))
    state = State(
        day="2026-11-22",
        people=Table({"v-2": "visit-2", "v-1": 'with "quotes"'}),
        appointments=Table({"a-1": Planned("a-1", at, at, None, "marco", 3)}),
        tokens=Table({"t": at}),
        readers=Table({"door-1": "unplugged"}),
    )
    told = list(pieces(state))
    assert "".join(told).encode() == to_bytes(state) == canonical(plain(state))
    assert len(told) > 10
    assert b'"t":"2026-11-22T10:00:00.000000Z"' in to_bytes(state)


def test_numbers_truths_and_maps() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    for proof in (None, Proof.HELD):
        odd = Odd(-7, True, proof, at, (Step("pool", at),), {"b": 2, "a": 1})
        assert written(odd).encode() == canonical(plain(odd))
    assert written(Odd(0, False, None, at, (), {})).startswith(
        '{"named":{},"nested":[],"number":0,"truth":false'
    )
