"""Table against a plain dict."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.table import Table

keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
steps = st.lists(st.tuples(st.booleans(), keys, st.integers()), max_size=60)


@given(steps)
def test_it_is_a_dict_that_never_changes(steps: list[tuple[bool, str, int]]) -> None:
    table: Table[int] = Table()
    twin: dict[str, int] = {}
    past: list[tuple[Table[int], dict[str, int]]] = []
    for put, key, value in steps:
        past.append((table, dict(twin)))
        if put:
            table, twin = table.with_(key, value), {**twin, key: value}
        else:
            table = table.without(key)
            twin.pop(key, None)
    for now, then in [*past, (table, twin)]:
        assert dict(now) == then
        assert list(now) == sorted(then)
        assert len(now) == len(then)
        assert now == Table(then) == then
        assert all(key in now and now[key] == value for key, value in then.items())
        assert "absent key" not in now


@given(st.dictionaries(keys, st.integers()), keys)
def test_an_absent_key_is_a_key_error(entries: dict[str, int], key: str) -> None:
    table = Table(entries).without(key)
    assert table.without(key) is table
    assert table.get(key) is None
    with pytest.raises(KeyError):
        table[key]


def test_it_shows_its_entries() -> None:
    assert repr(Table({"b": 2, "a": 1})) == "Table({'a': 1, 'b': 2})"


def test_the_order_is_the_same_in_every_run() -> None:
    """Negative control: a set of the same keys has another order under another hash seed."""
    program = (
        "from gateway.core.table import Table\n"
        "keys = [f'visit-{n}' for n in range(50)]\n"
        "print(list(Table(dict.fromkeys(keys, 1))) == sorted(keys), hash(tuple(set(keys))))"
    )

    def run(seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    first, second = run("1"), run("2")
    assert first[0] == second[0] == "True"
    assert first[1] != second[1]


@pytest.mark.parametrize("entries", [None, {}])
def test_nothing_in_it(entries: Any) -> None:
    assert list(Table(entries)) == []
    assert not Table(entries)
