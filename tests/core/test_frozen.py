"""`frozen.replace` against the standard library's."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import frozen
from gateway.core.events import Event, ReaderLost
from gateway.core.state import State
from tests.rigs import generated


@given(generated.events(), st.data())
def test_it_does_what_the_standard_one_does(event: Event, data: st.DataObject) -> None:
    other = data.draw(generated.of(type(event)))
    names = data.draw(st.sets(st.sampled_from([field.name for field in dataclasses.fields(event)])))
    changes: dict[str, Any] = {name: getattr(other, name) for name in names}
    before = dataclasses.replace(event)
    changed = frozen.replace(event, **changes)
    assert changed == dataclasses.replace(event, **changes)
    assert type(changed) is type(event)
    assert changed is not event
    assert event == before


def test_it_works_on_the_state() -> None:
    state = State(day="2026-11-22")
    changed = frozen.replace(state, readers=state.readers.with_("door-1", "unplugged"))
    assert changed == dataclasses.replace(state, readers=state.readers.with_("door-1", "unplugged"))
    assert changed.visits is state.visits


@given(generated.of(ReaderLost))
def test_an_unknown_field_is_a_type_error(event: ReaderLost) -> None:
    with pytest.raises(TypeError, match="ReaderLost has no field 'raeder'"):
        frozen.replace(event, raeder="door-1")
    with pytest.raises(TypeError):
        dataclasses.replace(event, raeder="door-1")  # type: ignore[call-arg]  # the standard one agrees
