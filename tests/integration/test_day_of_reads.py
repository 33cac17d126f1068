"""What readers send, good and bad: each read is answered after the commit, and nothing stops the next one."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.rigs.daemon import appointment, visitor
from tests.rigs.days import Day
from tests.rigs.station import read_event

GOOD: dict[str, Any] = {"technology": "nfc", "uid": "04FFFFFFFFFF01"}


def answered(day: Day, name: str, technology: str = "qr", count: int = 1, **more: Any) -> tuple[str, str]:
    """Publish a read; the outcome and reason of its receipt, the first one's where it is a repeat."""
    day.door.read(name, technology, **more)
    receipt = day.door.receipt(name, count)
    final = receipt.get("first", receipt)
    return receipt["outcome"], final.get("reason", "")


def opened(day: Day, read: str) -> dict[str, Any]:
    """The visit.opened of the visit that a read belongs to."""
    visit = day.visit_of(read)
    found = [
        e for e in day.daemon.events() if e["subject"] == visit and e["type"] == "soglia.visit.opened.v1"
    ]
    assert len(found) == 1
    return dict(found[0]["data"])


def test_a_second_scan_joins_the_visit_and_calls_nobody_again(day: Day) -> None:
    booking = day.book()
    visit = day.arrive(booking, "join-1")
    alert = day.marco.alert(visit)
    assert answered(day, "join-2", "nfc", uid=booking.card)[0] == "accepted"
    assert day.visit_of("join-2") == visit
    day.marco.command("join-done", visit, "coming", alert=alert.data["alert"])
    assert day.marco.receipt("join-done")["outcome"] == "accepted"
    assert day.act(day.marco_http, visit, "done").status_code == 200
    assert answered(day, "join-3", payload=booking.code)[0] == "accepted"  # on her way out
    assert day.visit_of("join-3") == visit
    assert len([a for a in day.marco.of(visit, "soglia.alert.v1") if a["attempt"] == 1]) == 1


def test_a_token_counts_once(day: Day) -> None:
    booking = day.book()
    token = day.daemon.qr(booking.appointment)
    assert answered(day, "once-1", payload=token) == ("accepted", "")
    assert answered(day, "once-2", payload=token) == ("refused", "token-used")
    day.door.read("once-1", payload=token)  # the same read again is not a second use
    assert day.door.receipt("once-1", 2)["first"] == {"outcome": "accepted"}


@pytest.mark.parametrize("how", ["code", "lower-case code", "loyalty", "nfc", "epc"])
def test_each_credential_finds_the_appointment(day: Day, how: str) -> None:
    booking, name = day.book(), f"cred-{how.replace(' ', '-')}"
    proof = "held"
    if how == "nfc":
        day.door.read(name, "nfc", uid=booking.card.lower())
        proof = "hint"
    elif how == "epc":
        epc = f"30{int(booking.visitor[2:]):022X}"
        day.daemon.put([visitor(booking.visitor, ("epc", epc))])
        day.door.read(name, "rfid", epc=epc, antenna=1, rssi=-50)
        proof = "hint"
    else:
        text = {"code": booking.code, "lower-case code": booking.code.lower(), "loyalty": booking.loyalty}
        day.door.read(name, "qr", payload=text[how])
    assert day.door.receipt(name)["outcome"] == "accepted"
    found = opened(day, name)
    assert (found["match"], found["appointment"], found["proof"]) == ("expected", booking.appointment, proof)
    assert day.marco.alert(day.visit_of(name)).data["level"] == "clerk"


def test_known_without_an_appointment_is_a_walk_in_for_whoever_is_free(day: Day) -> None:
    guest = day.visitor()
    assert answered(day, "walkin-1", payload=guest.loyalty)[0] == "accepted"
    found = opened(day, "walkin-1")
    assert (found["match"], found["visitor"]) == ("known", guest.visitor)
    visit = day.visit_of("walkin-1")
    who = day.marco if day.state(visit)["alerts"] else day.giulia
    assert who.alert(visit).data["match"] == "known"


@pytest.mark.parametrize(
    ("minutes", "match", "flags"),
    [(40, "expected", ["early"]), (-20, "expected", ["late"]), (-45, "known", ["late"])],
)
def test_a_booking_code_is_good_all_day_but_not_too_late(
    day: Day, minutes: int, match: str, flags: list[str]
) -> None:
    booking, name = day.book(minutes), f"time{minutes}"
    assert answered(day, name, payload=booking.code)[0] == "accepted"
    found = opened(day, name)
    assert (found["match"], found["flags"]) == (match, flags)


def test_a_card_of_two_people_asks_the_clerk(day: Day) -> None:
    shared = "04ABCDEF123456"
    day.daemon.put([visitor(name, ("nfc-uid", shared)) for name in ("v-twin-1", "v-twin-2")])
    assert answered(day, "twins-1", "nfc", uid=shared)[0] == "accepted"
    assert opened(day, "twins-1")["match"] == "ambiguous"
    day.daemon.put([appointment("a-twin", "v-twin-2", 5)])
    assert answered(day, "twins-2", "nfc", uid=shared)[0] == "accepted"
    assert opened(day, "twins-2")["visitor"] == "v-twin-2"


def test_strangers_are_counted_or_refused(day: Day) -> None:
    before = len([e for e in day.daemon.events() if "opened" in e["type"]])
    assert answered(day, "stranger-1", "nfc", uid="04999999999999")[0] == "accepted"
    assert answered(day, "stranger-2", "rfid", epc="3099999999999999")[0] == "accepted"
    assert answered(day, "stranger-3", payload="ZZ99ZZ") == ("refused", "unknown-code")
    assert answered(day, "stranger-4", payload="https://elsewhere.example/hello/ZZ99ZZ")[0] == "refused"
    assert len([e for e in day.daemon.events() if "opened" in e["type"]]) == before
    counted = [e["data"] for e in day.daemon.events() if e["type"] == "soglia.read.refused.v1"]
    assert "unknown-code" in [data["reason"] for data in counted if data["read"] == "stranger-3"]


def test_the_same_id_is_the_same_read(day: Day) -> None:
    booking = day.book()
    assert answered(day, "same-1", payload=booking.code)[0] == "accepted"
    first = day.door.receipt("same-1")
    assert answered(day, "same-1", payload=booking.code, count=2)[0] == "repeated"
    again = day.door.receipt("same-1", 2)
    assert (again["first"], again["seq"]) == ({"outcome": "accepted"}, first["seq"])
    assert answered(day, "same-1", payload="OTHER1", count=3) == ("refused", "id-reused")
    sightings = [e for e in day.daemon.events() if e["data"].get("read") == "same-1"]
    assert len(sightings) == 1
    # Another reader's read of that id is another read.
    event = read_event("tablet:marco", "same-1", {"technology": "qr", "payload": booking.code})
    by_tablet = day.marco_http.post("/api/v1/reads", json=event)
    assert (by_tablet.status_code, by_tablet.json()["outcome"]) == (200, "accepted")


def test_an_old_read_is_recorded_and_alerts_nobody(day: Day) -> None:
    booking = day.book()
    old = (datetime.now(UTC) - timedelta(minutes=40)).isoformat()
    outcome = answered(day, "stale-1", payload=booking.code, envelope={"time": old})
    assert outcome == ("accepted", "stale-read")
    seen = day.sighting("stale-1")
    assert "visit" not in seen["data"]
    assert "stale" in seen["data"]["flags"]
    assert day.arrive(booking, "stale-2")  # she is still expected


def test_a_reader_whose_clock_was_never_set_is_believed(day: Day) -> None:
    booking = day.book()
    unset = {"time": "1970-01-01T00:00:07Z"}
    assert answered(day, "unset-1", payload=booking.code, envelope=unset) == ("accepted", "")
    assert day.marco.alert(day.visit_of("unset-1"))


READ = read_event("door-1", "bad", GOOD)
BAD: dict[str, tuple[object, str]] = {
    "foreign-source": (READ | {"source": "soglia/milano-01/readers/shelf-1"}, "foreign-source"),
    "another-store": (READ | {"source": "soglia/roma-01/readers/door-1"}, "foreign-source"),
    "no-source": ({k: v for k, v in READ.items() if k != "source"}, "foreign-source"),
    "not-a-read": (READ | {"type": "soglia.command.v1"}, "not-an-event"),
    "cloudevents-0.3": (READ | {"specversion": "0.3"}, "not-an-event"),
    "no-type": ({k: v for k, v in READ.items() if k != "type"}, "not-an-event"),
    "data-list": (READ | {"data": []}, "malformed"),
    "data-missing": ({k: v for k, v in READ.items() if k != "data"}, "malformed"),
    "telepathy": (READ | {"data": {"technology": "telepathy"}}, "unknown-technology"),
    "technology-list": (READ | {"data": {"technology": ["qr"]}}, "unknown-technology"),
    "no-payload": (READ | {"data": {"technology": "qr"}}, "read-field-missing"),
    "payload-number": (READ | {"data": {"technology": "qr", "payload": 7}}, "read-field-type"),
    "payload-empty": (READ | {"data": {"technology": "qr", "payload": ""}}, "qr-empty"),
    "payload-long": (READ | {"data": {"technology": "qr", "payload": "A" * 5000}}, "qr-oversize"),
    "uid-no-hex": (READ | {"data": {"technology": "nfc", "uid": "nonsense"}}, "read-field-not-hex"),
    "uid-short": (READ | {"data": {"technology": "nfc", "uid": "04"}}, "nfc-uid-length"),
    "ndef-no-base64": (READ | {"data": {"technology": "nfc", "ndef": "%%"}}, "read-field-not-base64"),
    "epc-odd": (READ | {"data": {"technology": "rfid", "epc": "301"}}, "read-field-not-hex"),
    "time-no-offset": (READ | {"time": "2026-11-22T10:00:00"}, "malformed"),
    "time-number": (READ | {"time": 1763805600}, "malformed"),
    "time-before-time": (READ | {"time": "0001-01-01T00:00:00+01:00"}, "malformed"),
    "time-after-time": (READ | {"time": "9999-12-31T23:59:59-10:00"}, "malformed"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_read_is_refused_with_its_reason(day: Day, case: str) -> None:
    event, reason = BAD[case]
    assert isinstance(event, dict)
    day.door.publish("readers/door-1/reads", json.dumps(event | {"id": f"bad-{case}"}).encode())
    receipt = day.door.receipt(f"bad-{case}")
    assert (receipt["outcome"], receipt["reason"]) == ("refused", reason)
    counted = [e for e in day.daemon.events() if e["data"].get("read") == f"bad-{case}"]
    assert [e["type"] for e in counted] == ["soglia.read.refused.v1"]
    answer = day.daemon.http(None).get("/healthz")
    assert answer.status_code == 200, "the gateway lives"


NAMELESS = {
    "nothing": b"",
    "no JSON": b"hello?",
    "an array": b"[]",
    "half a line": b'{"specversion":"1.0","id":"half',
    "not UTF-8": b'{"id":"\xff\xfe"}',
    "binary": bytes(range(256)),
    "no id": json.dumps({k: v for k, v in READ.items() if k != "id"}).encode(),
    "an id with spaces": json.dumps(READ | {"id": "a b"}).encode(),
    "an id too long": json.dumps(READ | {"id": "x" * 129}).encode(),
    "an id that is a number": json.dumps(READ | {"id": 7}).encode(),
    "two ids": b'{"id":"one","id":"two"}',
    "NaN": b'{"specversion":"1.0","id":"nan","data":{"x":NaN}}',
    "half a surrogate": b'{"specversion":"1.0","id":"s","data":{"x":"\\ud800"}}',
    "a huge integer": b'{"specversion":"1.0","id":"i","data":{"x":' + b"9" * 4000 + b"}}",
    "a deep nest": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "64 KB less one": b"x" * (64 * 1024 - 1),
}


@pytest.mark.parametrize("case", NAMELESS)
def test_what_is_no_read_at_all_is_counted_and_the_next_one_works(day: Day, case: str) -> None:
    before = len(_refusals(day))
    day.door.publish("readers/door-1/reads", NAMELESS[case])
    name = f"after-{case.replace(' ', '-')}"
    assert answered(day, name, "nfc", uid="04999999999999")[0] == "accepted"
    refused = _refusals(day)[before:]
    assert len(refused) == 1, refused
    assert "credential" not in json.dumps(refused)


def test_a_reader_we_do_not_know_is_refused(day: Day) -> None:
    """The token says that it may speak as `kiosk:entrance`; a reader that is in no zone is not the door."""
    event = read_event("entrance", "kiosk-1", {"technology": "qr", "payload": "ZZ99ZZ"})
    day.kiosk.publish("readers/entrance/reads", json.dumps(event).encode())
    assert day.kiosk.receipt("kiosk-1")["outcome"] == "refused"


def test_adverts_are_answered_only_when_refused(day: Day) -> None:
    advert = base64.b64encode(bytes.fromhex("0201061AFF4C000215" + "00" * 21)).decode()
    fields = {"address": "AA:BB:CC:DD:EE:FF", "rssi": -60, "advertisement": advert}
    day.door.read("ble-1", "ble", **fields)
    assert answered(day, "ble-after", payload="ZZ98ZZ")[0] == "refused"
    assert not [t for t in day.door.told if t.topic.endswith("/receipts") and t.data["read"] == "ble-1"]
    assert "ble" not in [e["data"].get("technology") for e in day.daemon.events()], "never reaches the disk"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"nonsense", "not-json"),
        (b"{}", "bad-id"),
        (b'{"id":"c-1","specversion":"1.0","type":"soglia.read.v1","data":{}}', "not-an-event"),
        (b'{"id":"c-2","specversion":"1.0","type":"soglia.command.v1","data":{}}', "malformed"),
        (
            b'{"id":"c-3","specversion":"1.0","type":"soglia.command.v1","data":{"visit":"v","action":["x"]}}',
            "malformed",
        ),
        (
            b'{"id":"c-4","specversion":"1.0","type":"soglia.command.v1","data":{"visit":"v","action":"fly"}}',
            "unknown-action",
        ),
        (
            b'{"id":"c-5","specversion":"1.0","type":"soglia.command.v1","data":{"visit":"v","action":"done"}}',
            "unknown-visit",
        ),
    ],
)
def test_a_bad_command_is_answered_too(day: Day, body: bytes, reason: str) -> None:
    day.giulia.publish("clerks/giulia/commands", body)
    told = day.giulia.until(
        lambda t: t.topic == "clerks/giulia/receipts" and t.data.get("reason") == reason, reason
    )
    assert told.data["outcome"] == "refused"


def test_free_text_never_enters_the_log(day: Day) -> None:
    visit = day.arrive(day.book(), "free-1")
    words = "she prefers Anna Verdi, 333 1234567"
    day.marco.command("free-refuse", visit, "refuse", reason=words)
    assert day.marco.receipt("free-refuse")["outcome"] == "accepted"
    assert day.act(day.giulia_http, visit, "greeted").status_code == 200
    assert day.act(day.giulia_http, visit, "done", outcome=words).status_code == 200
    told = [e for e in day.daemon.events() if e["subject"] == visit]
    assert [e["data"]["reason"] for e in told if "reassigned" in e["type"]] == ["in-words"]
    assert [e["data"]["outcome"] for e in told if "closed" in e["type"]] == ["in-words"]
    assert "Verdi" not in json.dumps(day.daemon.events())


def test_reads_come_over_http_as_well(day: Day) -> None:
    booking = day.book()
    with day.daemon.http("reader:door-1") as client:
        event = read_event("door-1", "http-1", {"technology": "qr", "payload": booking.code})
        first = client.post("/api/v1/reads", json=event)
        assert (first.status_code, first.json()["outcome"]) == (200, "accepted")
        again = client.post("/api/v1/reads", json=event)
        assert (again.status_code, again.json()["outcome"]) == (200, "repeated")
        unknown = read_event("door-1", "http-2", {"technology": "qr", "payload": "ZZ97ZZ"})
        assert client.post("/api/v1/reads", json=unknown).status_code == 409
        foreign = read_event("shelf-1", "http-3", {"technology": "qr", "payload": booking.code})
        assert client.post("/api/v1/reads", json=foreign).status_code == 403
    day.door.read("http-1", payload=booking.code)
    assert day.door.receipt("http-1")["outcome"] == "repeated"


def _refusals(day: Day) -> list[dict[str, Any]]:
    return [e["data"] for e in day.daemon.events() if e["type"] == "soglia.read.refused.v1"]
