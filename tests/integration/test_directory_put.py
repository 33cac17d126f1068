"""Records into the directory: versions, tombstones, quarantine, and that repeating changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import LogError
from gateway.core.model import Appointment, Clerk
from gateway.shell.directory import Directory

KEY = b"k" * 32
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = Directory.open(tmp_path / "directory.db", KEY, "milano-01")
    yield opened
    opened.close()


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def appointment(version: int = 1, **fields: Any) -> bytes:
    base = {"start": "2026-11-22T10:00:00+01:00", "end": "2026-11-22T10:30:00+01:00", "visitor": "v-17"}
    return line(kind="appointment", id="a-9", version=version, **{**base, **fields})


def test_the_contract_records_land_and_repeating_changes_nothing(directory: Directory) -> None:
    lines = [
        line(
            kind="clerk",
            id="marco",
            version=1,
            name="Marco Rossi",
            languages=["it", "en"],
            skills=["shoes"],
            zone="shoes",
            roles=["clerk"],
            shifts=[{"start": "2026-11-22T09:00:00+01:00", "end": "2026-11-22T18:00:00+01:00"}],
        ),
        line(
            kind="visitor",
            id="v-17",
            version=4,
            given_name="Anna",
            credentials=[{"kind": "nfc-uid", "value": "04A2", "issued": "2026"}],
            touchpoints=[{"id": "t1", "channel": "smoke-signals", "at": "2026-11-01T10:00:00Z", "x": [1]}],
            hobby="sailing",
        ),
        appointment(clerk="marco", code="K7Q2MX", store="roma-02"),
        line(kind="product", id="sku-1", version=1, gtin="08012345678905", price={"amount": "9.00"}),
    ]
    first = directory.put(lines, "platform", AT)
    assert first.answer() == {"accepted": 4, "unchanged": 0, "stale": 0, "quarantined": []}
    assert [type(change.subject) for change in first.changed] == [Clerk, Appointment]
    again = directory.put(lines, "platform", AT)
    assert again.answer() == {"accepted": 0, "unchanged": 4, "stale": 0, "quarantined": []}
    assert again.changed == []

    visitor = directory.body("visitor", "v-17")
    assert visitor is not None
    assert visitor["hobby"] == "sailing"
    assert visitor["touchpoints"][0]["channel"] == "smoke-signals"
    assert set(visitor["credentials"][0]) == {"kind", "digest", "issued"}
    assert directory.clerks()[0].shifts is not None
    (planned,) = directory.appointments(AT - timedelta(days=1), AT + timedelta(days=1))
    assert (planned.store, planned.start) == ("roma-02", datetime(2026, 11, 22, 9, 0, tzinfo=UTC))
    assert directory.counts() == {"appointment": 1, "clerk": 1, "product": 1, "visitor": 1}


def test_no_credential_is_in_the_files(directory: Directory, tmp_path: Path) -> None:
    directory.put(
        [
            line(
                kind="visitor", id="v", version=1, credentials=[{"kind": "loyalty", "value": "CARD-778899"}]
            ),
            appointment(code="K7Q2MX"),
            line(kind="visitor", id="w", version=1, given_name="Wanda"),
        ],
        "platform",
        AT,
    )
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"Wanda" in content  # the search can find
    assert b"CARD-778899" not in content
    assert b"K7Q2MX" not in content


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (b"{", "not JSON at character 1"),
        (b"[]", "not a JSON object"),
        (b'{"kind":"dragon","id":"x","version":1}', "kind: not one of"),
        (b'{"id":"x","version":1}', "kind: missing"),
        (b'{"kind":"clerk","version":1}', "id: field required"),
        (b'{"kind":"clerk","id":"a b","version":1}', "id: an id has"),
        (b'{"kind":"clerk","id":"a","version":true}', "version: input should be a valid integer"),
        (b'{"kind":"clerk","id":"a","version":-1}', "version: "),
        (b'{"kind":"clerk","id":"a","version":9223372036854775808}', "an integer is larger than 2^63-1"),
        (b'{"kind":"clerk","id":"a","version":1,"x":1' + b"0" * 5000 + b"}", "an integer is larger"),
        (b'{"kind":"clerk","id":"a","version":1,"version":2}', "version: given twice"),
        (b'{"kind":"clerk","id":"a","version":1,"x":NaN}', "NaN is not a JSON number"),
        (b'{"kind":"clerk","id":"a","version":1,"x":1e999}', "a number is too large"),
        (b'{"kind":"clerk","id":"a","version":1,"name":"\\u0000"}', "a text contains a NUL"),
        (b'{"kind":"clerk","id":"a","version":1,"name":"\\ud800"}', "a text contains half a surrogate"),
        (b'{"kind":"clerk","id":"a","version":1,"name":"\xff"}', "not UTF-8 at byte"),
        (
            b'{"kind":"clerk","id":"a","version":1,"x":' + b"[" * 40 + b"]" * 40 + b"}",
            "nested deeper than 32",
        ),
        (b"[" * 100_000, "nested deeper than 32"),
        (b'{"kind":"clerk","id":"a","version":1,"x":"' + b"y" * 262_144 + b'"}', "longer than 262144 bytes"),
        (b'{"kind":"clerk","id":"a","version":1,"deleted":"yes"}', "deleted: "),
        (appointment(start="2026-11-22T10:00:00"), "start: not an RFC 3339 time with an offset"),
        (appointment(start="2026-13-22T10:00:00Z"), "start: not a time that exists"),
        (appointment(start="0001-01-01T00:00:00+01:00"), "start: not a time that exists"),
        (appointment(end="2026-11-22T09:59:00+01:00"), "end: lies before start"),
        (appointment(status="perhaps"), "status: "),
        (appointment(party_size=0), "party_size: "),
        (
            b'{"kind":"visitor","id":"v","version":1,"credentials":[{"kind":"nfc-uid","value":"0G"}]}',
            "credentials.0: not pairs of hexadecimal digits",
        ),
    ],
)
def test_a_bad_line_is_set_aside_while_the_rest_lands(directory: Directory, raw: bytes, problem: str) -> None:
    good = line(kind="clerk", id="good", version=1)
    result = directory.put([b"", raw, b"  ", good], "platform", AT)
    ((number, sentence),) = result.quarantined
    assert number == 2
    assert sentence.startswith(problem)
    assert result.accepted == 1
    assert directory.body("clerk", "good") is not None
    directory.put([b"", raw, b"  ", good], "platform", AT)
    assert directory.quarantine_count() == 1
    (row,) = directory.quarantined()
    assert (row.source, row.line, row.problem) == ("platform", 2, sentence)


def test_the_quarantine_keeps_the_newest_ten_thousand(directory: Directory) -> None:
    directory.put([b"{%d" % n for n in range(10_500)], "platform", AT)
    assert directory.quarantine_count() == 10_000
    assert directory.quarantined(1)[0].line == 10_500


def test_a_tombstone_beats_what_is_late_and_tells_the_log(directory: Directory) -> None:
    directory.put([appointment(2), line(kind="clerk", id="marco", version=1)], "platform", AT)
    result = directory.put(
        [
            line(kind="appointment", id="a-9", version=3, deleted=True),
            line(kind="clerk", id="marco", version=2, deleted=True),
        ],
        "platform",
        AT,
    )
    gone, clerk = result.changed
    assert isinstance(gone.subject, Appointment)
    assert (gone.subject.status, gone.subject.version, gone.subject.visitor) == ("cancelled", 3, None)
    assert clerk.removed
    assert directory.body("appointment", "a-9") is None
    late = directory.put([appointment(2), appointment(3)], "platform", AT)
    assert (late.stale, late.changed) == (2, [])
    back = directory.put([appointment(4)], "platform", AT)
    assert isinstance(back.changed[0].subject, Appointment)
    assert back.changed[0].subject.status == "booked"


def test_a_tombstone_of_something_unknown_is_kept_and_says_nothing(directory: Directory) -> None:
    result = directory.put([line(kind="appointment", id="a-9", version=5, deleted=True)], "platform", AT)
    assert (result.accepted, result.changed) == (1, [])
    assert directory.put([appointment(4)], "platform", AT).stale == 1


@pytest.mark.parametrize("spelling", ["cancelled", "canceled"])
def test_a_cancellation_is_a_change(directory: Directory, spelling: str) -> None:
    directory.put([appointment(1)], "platform", AT)
    (change,) = directory.put([appointment(2, status=spelling)], "platform", AT).changed
    assert isinstance(change.subject, Appointment)
    assert (change.subject.status, change.subject.visitor) == ("cancelled", "v-17")


def test_the_log_can_be_told_again_of_what_it_may_not_have_heard(
    directory: Directory, tmp_path: Path
) -> None:
    first = directory.put([appointment(1), line(kind="clerk", id="marco", version=1)], "platform", AT)
    directory.mark_told(first.changed[0].seq)
    directory.put([line(kind="clerk", id="marco", version=2, deleted=True)], "platform", AT)
    directory.close()
    reopened = Directory.open(tmp_path / "directory.db", KEY, "milano-01")
    try:
        (untold,) = reopened.changes_since(reopened.told())
        assert (untold.subject.id, untold.removed) == ("marco", True)
        reopened.mark_told(untold.seq)
        reopened.mark_told(1)  # never goes back
        assert reopened.changes_since(reopened.told()) == []
        assert [change.subject.id for change in reopened.changes_since(0)] == ["a-9", "marco"]
    finally:
        reopened.close()


def test_a_file_that_is_no_database_is_an_error_of_our_disk(tmp_path: Path) -> None:
    (tmp_path / "directory.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(LogError, match="directory-failed"):
        Directory.open(tmp_path / "directory.db", KEY, "milano-01")


records = st.builds(
    lambda id_, version, body: {"kind": "product", "id": id_, "version": version, **body},
    st.sampled_from(["a", "b"]),
    st.integers(0, 4),
    st.one_of(
        st.just({"deleted": True}), st.builds(lambda name: {"name": name}, st.sampled_from(["x", "y"]))
    ),
)


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(st.lists(records, max_size=6), max_size=4))
def test_versions_against_a_dumb_twin(
    tmp_path_factory: pytest.TempPathFactory, requests: list[list[dict[str, Any]]]
) -> None:
    path = tmp_path_factory.mktemp("twin") / "directory.db"
    directory = Directory.open(path, KEY, "milano-01")
    twin: dict[str, dict[str, Any]] = {}
    try:
        for request in requests:
            expected = {"accepted": 0, "unchanged": 0, "stale": 0, "quarantined": []}
            for record in request:
                held = twin.get(record["id"])
                if held is None or record["version"] > held["version"]:
                    twin[record["id"]] = record
                    verdict = "accepted"
                else:
                    verdict = "unchanged" if record == held else "stale"
                expected[verdict] += 1  # type: ignore[operator]  # the last value is a list
            assert directory.put([line(**record) for record in request], "platform", AT).answer() == expected
            for id_ in ("a", "b"):
                held = twin.get(id_)
                live = held if held is not None and "deleted" not in held else None
                assert directory.body("product", id_) == live
    finally:
        directory.close()
