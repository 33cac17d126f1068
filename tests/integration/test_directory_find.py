"""Look-ups: whose credential it is, name search, audit, retention and erasure."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.model import Credential, Proof, SingleUse
from gateway.shell.directory import Directory

KEY = b"k" * 32
AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
DAY = (datetime(2026, 11, 21, 23, 0, tzinfo=UTC), datetime(2026, 11, 22, 23, 0, tzinfo=UTC))
UUID = "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6"


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def visit(id_: str, start: str, visitor: str | None = "v-1", **fields: Any) -> bytes:
    end = (datetime.fromisoformat(start) + timedelta(minutes=30)).isoformat()
    return line(kind="appointment", id=id_, start=start, end=end, visitor=visitor, **{"version": 1, **fields})


def visitor(id_: str, **fields: Any) -> bytes:
    return line(kind="visitor", id=id_, **{"version": 1, **fields})


def ask(kind: str, value: str) -> Credential:
    return Credential(kind, value, Proof.HELD)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = Directory.open(tmp_path / "directory.db", KEY, "milano-01")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (("nfc-uid", "04:a2:ff-00 11"), ("nfc-uid", "04A2FF0011")),
        (("epc", "30f4ab"), ("epc", "30F4AB")),
        (("loyalty", " 00123 "), ("loyalty", "00123")),
        (("ibeacon", f"{UUID}:1:2"), ("ibeacon", f"{UUID.upper()}:1:2")),
        (("ibeacon", f"{UUID.replace('-', '')}:01:2"), ("ibeacon", f"{UUID.upper()}:1:2")),
        (("wallet-pass", "AbC"), ("wallet-pass", "AbC")),
    ],
)
def test_a_credential_is_found_in_any_spelling(
    directory: Directory, given: tuple[str, str], read: tuple[str, str]
) -> None:
    directory.put([visitor("v-1", credentials=[{"kind": given[0], "value": given[1]}])], "p", AT)
    assert directory.find([ask(*read)], AT, DAY).owners == ("v-1",)
    assert directory.find([ask("other-kind", read[1])], AT, DAY).owners == ()


def test_the_first_known_credential_wins_and_brings_the_days_appointments(directory: Directory) -> None:
    once = SingleUse("t-1", AT)
    directory.put(
        [
            visitor(
                "v-1", credentials=[{"kind": "nfc-uid", "value": "04A2"}, {"kind": "loyalty", "value": "7"}]
            ),
            visitor("v-2", credentials=[{"kind": "loyalty", "value": "7"}]),
            visit("late", "2026-11-22T18:00:00+01:00"),
            visit("early", "2026-11-22T10:00:00+01:00", status="cancelled"),
            visit("hers", "2026-11-22T12:00:00+01:00", visitor="v-2"),
            visit("midnight", "2026-11-22T00:00:00+01:00"),
            visit("tomorrow", "2026-11-23T00:00:00+01:00"),
        ],
        "p",
        AT,
    )
    finding = directory.find(
        [ask("epc", "30"), Credential("nfc-uid", "04A2", Proof.HINT, once), ask("loyalty", "7")], AT, DAY
    )
    assert (finding.credential_kind, finding.proof, finding.single_use) == ("nfc-uid", Proof.HINT, once)
    assert (finding.owners, finding.named) == (("v-1",), None)
    assert [each.id for each in finding.appointments] == ["midnight", "early", "late"]
    assert [each.status for each in finding.appointments] == ["booked", "cancelled", "booked"]
    shared = directory.find([ask("loyalty", "7")], AT, DAY)
    assert shared.owners == ("v-1", "v-2")
    assert [each.id for each in shared.appointments] == ["midnight", "early", "hers", "late"]


def test_nobody_is_found(directory: Directory) -> None:
    finding = directory.find([ask("nfc-uid", "not hexadecimal"), ask("loyalty", "7")], AT, DAY)
    assert (finding.credential_kind, finding.owners, finding.named, finding.appointments) == (
        "nfc-uid",
        (),
        None,
        (),
    )
    with pytest.raises(ValueError, match="without any credential"):
        directory.find([], AT, DAY)


def test_a_token_names_an_appointment_of_any_day(directory: Directory) -> None:
    directory.put(
        [
            visit("a-1", "2026-12-24T10:00:00+01:00", store="roma-02"),
            visit("a-2", "2026-11-22T10:00:00+01:00"),
            visit("walk", "2026-11-22T10:00:00+01:00", visitor=None),
        ],
        "p",
        AT,
    )
    finding = directory.find([ask("appointment", "a-1")], AT, DAY)
    assert (finding.named, finding.owners) == ("a-1", ("v-1",))
    assert [(each.id, each.store) for each in finding.appointments] == [("a-2", None), ("a-1", "roma-02")]
    assert directory.find([ask("appointment", "walk")], AT, DAY).owners == ()
    assert directory.find([ask("appointment", "walk")], AT, DAY).named == "walk"


def test_a_token_of_a_moved_appointment_leads_to_the_new_one(directory: Directory) -> None:
    directory.put(
        [
            visit("old", "2026-11-22T10:00:00+01:00", status="cancelled", moved_to="new"),
            visit("new", "2026-11-22T15:00:00+01:00"),
            visit("ring-1", "2026-11-22T10:00:00+01:00", status="cancelled", moved_to="ring-2"),
            visit("ring-2", "2026-11-22T10:00:00+01:00", status="cancelled", moved_to="ring-1"),
        ],
        "p",
        AT,
    )
    assert directory.find([ask("appointment", "old")], AT, DAY).named == "new"
    assert directory.find([ask("appointment", "ring-1")], AT, DAY).named in ("ring-1", "ring-2")


def test_a_booking_code_in_any_case_prefers_that_day(directory: Directory) -> None:
    directory.put(
        [
            visit("next-week", "2026-11-29T10:00:00+01:00", code="K7Q2MX"),
            visit("today", "2026-11-22T18:00:00+01:00", code="k7q2mx"),
            visit("gone", "2026-11-22T10:00:00+01:00", code="K7Q2MX", status="cancelled"),
        ],
        "p",
        AT,
    )
    assert directory.find([ask("booking-code", " k7q2Mx ")], AT, DAY).named == "today"
    week_later = tuple(each + timedelta(days=7) for each in DAY)
    found = directory.find(
        [ask("booking-code", "K7Q2MX")], AT + timedelta(days=7), (week_later[0], week_later[1])
    )
    assert found.named == "next-week"
    assert directory.find([ask("booking-code", "K7Q2M")], AT, DAY).named is None


def test_a_new_version_takes_credentials_away(directory: Directory) -> None:
    directory.put([visitor("v-1", credentials=[{"kind": "loyalty", "value": "7"}])], "p", AT)
    directory.put([visitor("v-1", version=2, credentials=[{"kind": "loyalty", "value": "8"}])], "p", AT)
    assert directory.find([ask("loyalty", "7")], AT, DAY).owners == ()
    assert directory.find([ask("loyalty", "8")], AT, DAY).owners == ("v-1",)
    directory.put([visitor("v-1", version=3, deleted=True)], "p", AT)
    assert directory.find([ask("loyalty", "8")], AT, DAY).owners == ()
    assert directory.search_visitors("anna") == []


def test_another_key_finds_nothing(directory: Directory, tmp_path: Path) -> None:
    directory.put([visitor("v-1", credentials=[{"kind": "loyalty", "value": "7"}])], "p", AT)
    other = Directory.open(tmp_path / "directory.db", b"another key of some length", "milano-01")
    try:
        assert other.find([ask("loyalty", "7")], AT, DAY).owners == ()
        assert other.body("visitor", "v-1") is not None
    finally:
        other.close()


def test_find_visitor(directory: Directory) -> None:
    directory.put([visitor("v-1"), visit("a", "2026-11-22T10:00:00+01:00")], "p", AT)
    finding = directory.find_visitor("v-1", DAY)
    assert (finding.owners, [each.id for each in finding.appointments]) == (("v-1",), ["a"])
    assert directory.find_visitor("nobody", DAY).owners == ()


def test_the_name_search_knows_accents_case_and_order(directory: Directory) -> None:
    directory.put(
        [
            visitor("v-1", given_name="Anna", family_name="D'Agostìno", language="it"),
            visitor("v-2", given_name="ANNALISA", family_name="Bianchi"),
            visitor("v-3", given_name="Marta", family_name="Hanna"),
        ],
        "p",
        AT,
    )
    assert [hit["visitor"] for hit in directory.search_visitors("anna")] == ["v-1", "v-2"]
    assert directory.search_visitors("AGOSTINO ann") == [
        {"visitor": "v-1", "given_name": "Anna", "family_name": "D'Agostìno", "language": "it"}
    ]
    assert len(directory.search_visitors("a", 1)) == 1
    assert directory.search_visitors(" %_' ") == []


def test_agenda_audit_and_source_state(directory: Directory) -> None:
    directory.put([visit("a", "2026-11-22T10:00:00+01:00", note_of_ours="x")], "p", AT)
    assert [body["note_of_ours"] for body in directory.agenda(*DAY)] == ["x"]
    directory.audit("clerk:marco", "dossier", "v-1", "visit-1", AT)
    directory.audit("clerk:lia", "search", None, None, AT)
    assert [row.who for row in directory.audit_rows()] == ["clerk:lia", "clerk:marco"]
    assert [(row.whose, row.why, row.at) for row in directory.audit_rows("v-1")] == [("v-1", "visit-1", AT)]
    directory.keep_source_state("calendar:x", {"etag": "1"}, AT)
    directory.keep_source_state("calendar:x", {"etag": "2"}, AT)
    assert directory.source_state("calendar:x") == {"etag": "2"}
    assert directory.source_state("calendar:y") == {}
    directory.forget_trail(AT + timedelta(days=1), AT)
    assert directory.audit_rows() == []


def test_erasing_a_person_leaves_no_trace_in_any_file(directory: Directory, tmp_path: Path) -> None:
    anna = visitor("v-erased-17", given_name="Xantippe", credentials=[{"kind": "loyalty", "value": "7"}])
    directory.put(
        [anna, visit("a", "2026-11-22T10:00:00+01:00", visitor="v-erased-17", code="K7"), b'{"v-erased-17"'],
        "p",
        AT,
    )

    def traces(needle: bytes) -> int:
        return sum(needle in path.read_bytes().lower() for path in tmp_path.iterdir())

    assert traces(b"xantippe") > 0  # the search can find
    assert directory.erase("v-erased-17", AT)
    assert traces(b"xantippe") == 0
    assert directory.find([ask("loyalty", "7")], AT, DAY).owners == ()
    assert directory.find([ask("booking-code", "K7")], AT, DAY).named is None
    assert directory.find([ask("appointment", "a")], AT, DAY).owners == ()
    assert directory.body("visitor", "v-erased-17") is None
    assert directory.quarantine_count() == 0
    assert directory.put([anna], "p", AT).stale == 1  # what comes late does not bring her back
    assert not directory.erase("v-unknown", AT)


def test_forgetting_profiles_keeps_hashes_and_the_expected(directory: Directory) -> None:
    stranger = visitor("v-1", given_name="Anna", credentials=[{"kind": "loyalty", "value": "7"}])
    expected = visitor("v-2", given_name="Berta")
    directory.put([stranger, expected, visit("a", "2026-11-22T10:00:00+01:00", visitor="v-2")], "p", AT)
    assert directory.forget_profiles(AT + timedelta(hours=1), DAY) == 1
    assert directory.body("visitor", "v-1") is None
    assert directory.search_visitors("anna") == []
    assert directory.find([ask("loyalty", "7")], AT, DAY).owners == ("v-1",)
    assert directory.body("visitor", "v-2") is not None
    assert directory.put([stranger], "p", AT).accepted == 1  # the same version brings it back
    assert directory.body("visitor", "v-1") is not None
    assert directory.put([stranger], "p", AT).unchanged == 1


def test_threads_read_while_one_writes(directory: Directory) -> None:
    directory.put([visitor("v-1", credentials=[{"kind": "loyalty", "value": "7"}])], "p", AT)
    wrong: list[object] = []

    def read() -> None:
        for _ in range(50):
            owners = directory.find([ask("loyalty", "7")], AT, DAY).owners
            if owners != ("v-1",):
                wrong.append(owners)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(20):
        directory.put([visitor(f"w-{n}", given_name="Carla")], "p", AT)
    for thread in threads:
        thread.join()
    assert wrong == []
