"""Plain JSON and back, for every event with any value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.codec import canonical, plain, restore, rfc3339
from gateway.core.events import TYPES, Event, SightingRecorded, VisitClosed, VisitOpened
from gateway.core.model import Proof
from gateway.core.table import Table
from tests.rigs import generated

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | generated.texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(generated.texts, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_event_type_survives(name: str) -> None:
    @given(generated.of(TYPES[name]))
    def survives(event: Event) -> None:
        again = restore(type(event), json.loads(canonical(plain(event))))
        assert again == event
        assert type(again) is type(event)
        for one in fields(event):
            assert type(getattr(again, one.name)) is type(getattr(event, one.name))

    survives()


@given(json_values)
def test_canonical_is_one_text_of_one_value(value: Any) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(json.dumps(value, indent=2))) == canonical(value)


def test_canonical_to_the_byte() -> None:
    value = {"b": [1, True, None], "a": {"é": '\u2028\x1f\n"/', "Z": -5}}
    assert canonical(value) == '{"a":{"Z":-5,"é":"\u2028\\u001f\\n\\"/"},"b":[1,true,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_what_is_no_json_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


def test_times_are_utc_with_microseconds() -> None:
    rome = timezone(timedelta(hours=1))
    assert rfc3339(datetime(2026, 11, 22, 11, 2, 3, tzinfo=rome)) == "2026-11-22T10:02:03.000000Z"


@given(generated.times)
def test_times_survive(at: datetime) -> None:
    assert restore(datetime, rfc3339(at)) == at
    assert rfc3339(at).endswith("Z")


@dataclass(frozen=True, slots=True)
class Box:
    must: str
    may: str | None
    proofs: tuple[Proof, ...] = ()
    table: Table[Proof] = field(default_factory=Table)


def test_unknown_fields_are_passed_over_and_absent_ones_take_their_default() -> None:
    assert restore(Box, {"must": "m", "later": [1]}) == Box("m", None)


def test_a_table_and_an_enumeration_survive() -> None:
    box = Box("m", "n", (Proof.HELD,), Table({"a": Proof.HINT}))
    assert plain(box) == {"must": "m", "may": "n", "proofs": ["held"], "table": {"a": "hint"}}
    assert restore(Box, plain(box)) == box
    assert type(restore(Box, plain(box)).proofs[0]) is Proof


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Box, {}),
        (Box, []),
        (Box, "text"),
        (Box, {"must": "m", "proofs": ["unheard"]}),
        (Box, {"must": "m", "proofs": 5}),
        (VisitClosed, {"visit": "v"}),
        (SightingRecorded, {}),
        (VisitOpened, None),
        (datetime, "yesterday"),
        (datetime, 5),
    ],
)
def test_what_is_not_the_form_of_a_kind_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        restore(kind, value)


@pytest.mark.parametrize("value", [1.5, b"bytes", {1, 2}, object()])
def test_what_has_no_plain_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="has no JSON form"):
        plain(value)


def test_an_event_is_frozen_after_it_was_restored() -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    event = TYPES["soglia.reader.recovered.v1"](at=at, reader="door-1")  # type: ignore[call-arg]  # a subclass
    again = restore(type(event), plain(event))
    assert hash(again) == hash(event)
    with pytest.raises(AttributeError):
        again.reader = "door-2"


def test_plain_values_stay_as_they_are() -> None:
    assert [restore(kind, value) for kind, value in ((str, "x"), (int, 5), (bool, True))] == ["x", 5, True]
