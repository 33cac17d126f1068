"""Sealed bytes: any change of any byte is noticed, and a stranger gets the same hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import chain
from gateway.core.chain import Sealed
from gateway.core.events import Event, ReaderRecovered
from tests.rigs import generated

PREV = chain.genesis("milano-01", "e1")
EVENT = ReaderRecovered(at=datetime(2026, 11, 22, 10, 2, 3, 456000, tzinfo=UTC), reader='door "é\x1f"')


def sealed(event: Event, seq: int = 7, prev: str = PREV) -> Sealed:
    return chain.seal(event, seq=seq, prev_hash=prev, store="milano-01", epoch="e1")


def test_the_exact_bytes() -> None:
    rest = (
        '"id":"e1.7","sequence":7,"source":"soglia/milano-01","specversion":"1.0",'
        '"subject":"door \\"é\\u001f\\"","time":"2026-11-22T10:02:03.456000Z",'
        '"type":"soglia.reader.recovered.v1"}'
    )
    head = '{"data":{"reader":"door \\"é\\u001f\\""},"datacontenttype":"application/json",'
    digest = hashlib.sha256(f"{PREV}\n{head}{rest}".encode()).hexdigest()
    one = sealed(EVENT)
    assert one.body == f'{head}"hash":"{digest}",{rest}'.encode()
    assert (one.seq, one.type, one.prev_hash, one.hash) == (7, EVENT.type_name(), PREV, digest)
    assert hashlib.sha256(b"soglia/milano-01/e1").hexdigest() == PREV


@given(generated.events(), st.integers(1, 2**53))
def test_bytes_objects_and_events_agree(event: Event, seq: int) -> None:
    one = sealed(event, seq)
    cloud_event = json.loads(one.body)
    assert chain.intact(one, PREV)
    assert chain.hash_of(PREV, one.body) == chain.rehash(PREV, cloud_event) == one.hash == cloud_event["hash"]
    assert chain.unseal(one.body) == event == one.event
    assert Sealed(one.seq, one.type, one.prev_hash, one.hash, one.body).event == event
    assert (cloud_event["subject"], cloud_event["sequence"]) == (event.subject, seq)


@given(generated.events(), st.data())
def test_any_changed_byte_breaks_the_chain(event: Event, data: st.DataObject) -> None:
    one = sealed(event)
    at = data.draw(st.integers(0, len(one.body) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != one.body[at]))
    forged = one.body[:at] + bytes([other]) + one.body[at + 1 :]
    assert not chain.intact(replace(one, body=forged), PREV)


def test_every_byte_and_every_bit_of_one_event() -> None:
    one = sealed(EVENT)
    for at in range(len(one.body)):
        for bit in range(8):
            forged = bytearray(one.body)
            forged[at] ^= 1 << bit
            assert not chain.intact(replace(one, body=bytes(forged)), PREV), (at, bit)


@given(generated.events(), st.data())
def test_a_missing_or_an_added_byte_breaks_the_chain(event: Event, data: st.DataObject) -> None:
    one = sealed(event)
    at = data.draw(st.integers(0, len(one.body) - 1))
    for forged in (one.body[:at] + one.body[at + 1 :], one.body[:at] + b" " + one.body[at:]):
        assert not chain.intact(replace(one, body=forged), PREV)


@pytest.mark.parametrize(
    "forged",
    [
        {"seq": 8},
        {"type": "soglia.reader.lost.v1"},
        {"prev_hash": "0" * 64},
        {"hash": "0" * 64},
        {"body": b"{}"},
        {"body": b""},
    ],
)
def test_a_changed_column_breaks_the_chain(forged: dict[str, object]) -> None:
    assert chain.intact(sealed(EVENT), PREV)
    assert not chain.intact(replace(sealed(EVENT), **forged), PREV)  # type: ignore[arg-type]  # one field of any type


def test_an_event_belongs_after_its_predecessor_only() -> None:
    first = sealed(EVENT, 1)
    second = sealed(EVENT, 2, first.hash)
    assert chain.intact(second, first.hash)
    assert not chain.intact(second, PREV)
    assert chain.hash_of(PREV, second.body) != second.hash


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"not json", b'{"data":{},"type":"x"}', b"\xff" * 40, b'{"data":{'],
)
def test_a_body_that_is_not_ours_is_refused(body: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        chain.unseal(body)
    with pytest.raises(ValueError, match="not found"):
        chain.hash_of(PREV, body)


def test_a_type_that_this_version_does_not_know_is_a_key_error() -> None:
    body = sealed(EVENT).body.replace(b"recovered.v1", b"recovered.v9")
    with pytest.raises(KeyError):
        chain.unseal(body)
