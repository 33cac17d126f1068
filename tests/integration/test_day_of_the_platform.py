"""What comes from outside the store: the directory, webhooks, a calendar; and what must never leave it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.rigs.daemon import appointment, in_minutes, visitor
from tests.rigs.days import Day, feed, lines
from tests.rigs.station import read_event

CALCOM = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "calcom"
SECRET = b"the secret of the webhook"
GUEST = "guest@example.com"

needs_calcom = pytest.mark.skipif(not CALCOM.is_dir(), reason="needs the captured cal.com webhooks")


def test_a_put_says_what_became_of_each_line(day: Day) -> None:
    one = visitor("v-put", ("loyalty", "PUT-1")) | {"version": 5}
    assert day.daemon.put([one]) == {"accepted": 1, "unchanged": 0, "stale": 0, "quarantined": []}
    assert day.daemon.put([one])["unchanged"] == 1
    assert day.daemon.put([one | {"language": "en"}])["stale"] == 1, "a version is never overwritten"
    assert day.daemon.put([one | {"version": 4}])["stale"] == 1
    bad = lines([one | {"version": 6}, {"kind": "unicorn"}]) + b"\nno json\n"
    told = day.platform.put("/api/v1/sync/directory", content=bad).json()
    assert (told["accepted"], [q["line"] for q in told["quarantined"]]) == (1, [2, 3])
    gone = {"kind": "visitor", "id": "v-put", "version": 7, "deleted": True}
    assert day.daemon.put([gone])["accepted"] == 1
    day.door.read("put-gone", payload="PUT-1")
    assert day.door.receipt("put-gone")["reason"] == "unknown-code"


def test_a_moved_and_a_cancelled_appointment_count_at_once(day: Day) -> None:
    booking = day.book(minutes=-120)
    day.daemon.put([appointment(booking.appointment, booking.visitor, 5, code=booking.code)])
    visit = day.arrive(booking, "moved-1")
    assert day.state(visit)["match"] == "expected"
    other = day.book()
    cancelled = appointment(other.appointment, other.visitor, 5, code=other.code, status="cancelled")
    day.daemon.put([cancelled])
    visit = day.arrive(other, "cancelled-1")
    assert day.state(visit)["match"] == "known"
    kinds = {
        e["type"] for e in day.daemon.events() if e["subject"] in (booking.appointment, other.appointment)
    }
    assert {f"soglia.appointment.{x}.v1" for x in ("planned", "moved", "cancelled")} <= kinds


def webhook(name: str, start: float, **fields: Any) -> bytes:
    """A captured webhook whose booking begins `start` minutes from now."""
    body = json.loads((CALCOM / f"{name}-2021-10-20.json").read_text())
    body["createdAt"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body["payload"] |= {"startTime": in_minutes(start), "endTime": in_minutes(start + 15)} | fields
    return json.dumps(body).encode()


def post(day: Day, body: bytes, signature: str | None = None) -> httpx.Response:
    signed = signature or hmac.new(SECRET, body, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-cal-signature-256": signed}
    return day.daemon.http(None).post("/api/v1/hooks/calcom", content=body, headers=headers)


def planned(day: Day, name: str) -> dict[str, Any] | None:
    agenda = day.marco_http.get("/api/v1/agenda").json()["appointments"]
    return next((a for a in agenda if a["appointment"] == name), None)


@needs_calcom
def test_cal_com_books_moves_and_cancels(day: Day) -> None:
    created = post(day, webhook("BOOKING_CREATED", 6, uid="cal-1"))
    assert (created.status_code, created.json()["accepted"]) == (200, 2)
    found = planned(day, "cal-1")
    assert found is not None
    assert (found["clerk"], found["status"]) == ("marco", "booked")
    repeat = webhook("BOOKING_CREATED", 6, uid="cal-2")
    assert post(day, repeat).json()["accepted"] >= 1
    assert post(day, repeat).json()["accepted"] == 0, "delivered twice"

    moved = webhook(
        "BOOKING_RESCHEDULED",
        8,
        uid="cal-3",
        rescheduleUid="cal-1",
        rescheduleStartTime=in_minutes(6),
        rescheduleEndTime=in_minutes(21),
    )
    token = day.daemon.qr("cal-1")
    assert post(day, moved).status_code == 200
    old, new = planned(day, "cal-1"), planned(day, "cal-3")
    assert old is None or old["status"] == "cancelled"
    assert new is not None
    assert new["status"] == "booked"
    day.door.read("cal-old-qr", payload=token)  # what she has on her phone is the first booking's
    assert day.door.receipt("cal-old-qr")["outcome"] == "accepted"
    assert day.state(day.visit_of("cal-old-qr"))["match"] == "expected"

    assert post(day, webhook("BOOKING_CANCELLED", 6, uid="cal-2")).status_code == 200
    gone = planned(day, "cal-2")
    assert gone is None or gone["status"] == "cancelled"
    ignored = post(day, webhook("BOOKING_PAID", 6))
    assert (ignored.status_code, "ignored" in ignored.json()) == (200, True)


@needs_calcom
def test_a_webhook_that_is_not_signed_by_cal_com_changes_nothing(day: Day) -> None:
    body = webhook("BOOKING_CREATED", 6, uid="cal-forged")
    for signature in ("0" * 64, "nonsense"):
        answer = post(day, body, signature)
        assert (answer.status_code, answer.json()["reason"]) == (401, "signature-invalid")
    assert planned(day, "cal-forged") is None
    assert day.daemon.http(None).post("/api/v1/hooks/other", content=b"{}").status_code == 404


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def test_a_calendar_s_appointments_are_in_the_agenda_and_follow_the_feed(day: Day) -> None:
    def ours() -> list[dict[str, Any]]:
        agenda = day.marco_http.get("/api/v1/agenda").json()["appointments"]
        known = {b.appointment for b in day.bookings}
        mine = [a for a in agenda if a["appointment"] not in known and a["clerk"] == "marco"]
        return [a for a in mine if not a["appointment"].startswith(("cal-", "a-"))]

    until(lambda: len(ours()) == 1)
    (found,) = ours()
    before = datetime.fromisoformat(found["start"])
    assert abs(before - datetime.now(UTC)) < timedelta(minutes=10)
    day.door.read("ical-1", payload=day.daemon.qr(found["appointment"]))
    assert day.door.receipt("ical-1")["outcome"] == "accepted"
    assert day.marco.alert(day.visit_of("ical-1")).data["match"] == "expected"

    (day.daemon.folder / "marco.ics").write_bytes(feed("zoe@example.org", minutes=70, sequence=1))
    until(lambda: datetime.fromisoformat(ours()[0]["start"]) > before + timedelta(minutes=30))
    assert [a["appointment"] for a in ours()] == [found["appointment"]], "the same one, moved"


def test_health_readiness_and_metrics(day: Day) -> None:
    assert day.daemon.http(None).get("/healthz").json() == {"status": "alive"}
    ready = day.operator.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert set(ready.json()["checks"].values()) == {"ok"}
    assert "checks" not in day.daemon.http(None).get("/readyz").json()
    metrics = day.operator.get("/metrics").text
    assert "soglia_log_events_total" in metrics
    assert day.daemon.http(None).get("/metrics").status_code == 401


def test_a_reader_that_is_gone_is_told_of_and_comes_back(day: Day) -> None:
    def lost() -> list[str]:
        ours = [e for e in day.daemon.events() if e["subject"] == "door-1"]
        return [e["type"] for e in ours if "reader" in e["type"]]

    event = {"specversion": "1.0", "id": "s", "source": "x", "type": "soglia.reader-status.v1"}
    for online in (False, True):
        payload = json.dumps(event | {"data": {"online": online}}).encode()
        day.door.publish("readers/door-1/status", payload)
    until(lambda: lost() == ["soglia.reader.lost.v1", "soglia.reader.recovered.v1"])
    day.door.publish("readers/door-1/status", b"nonsense")
    day.door.read("status-after", payload="ZZ96ZZ")
    assert day.door.receipt("status-after")["outcome"] == "refused"


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (None, "GET", "/api/v1/visits"),
        ("platform", "GET", "/api/v1/visits"),
        ("reader:door-1", "GET", "/api/v1/agenda"),
        ("clerk:marco", "GET", "/api/v1/sync/batches"),
        ("operator", "PUT", "/api/v1/sync/directory"),
        ("kiosk:entrance", "GET", "/api/v1/visitors?name=an"),
        ("operator", "GET", "/api/v1/visits/visit-1/dossier"),
        ("platform", "POST", "/api/v1/reads"),
        ("clerk:marco", "GET", "/metrics"),
    ],
)
def test_a_scope_does_what_is_its_own_only(day: Day, scope: str | None, method: str, path: str) -> None:
    answer = day.daemon.http(scope).request(method, path)
    assert answer.status_code == (403 if scope else 401)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_station_hears_and_says_what_is_its_own_only(day: Day) -> None:
    foreign = ("clerks/giulia/alerts", "readers/door-1/receipts", "#", "clerks/+/receipts")
    nosy = day.daemon.station("clerk:marco", *foreign)
    booking = day.book(with_="giulia")
    thief = day.daemon.station("clerk:marco", "clerks/marco/receipts")
    stolen = read_event("door-1", "stolen-1", {"technology": "qr", "payload": booking.code})
    thief.publish(
        "readers/door-1/reads", json.dumps(stolen).encode()
    )  # acknowledged and dropped, as MQTT 3.1.1 has it
    visit = day.arrive(booking, "own-1")
    day.giulia.alert(visit)
    assert not [t.topic for t in nosy.told if "giulia" in t.topic or t.topic.startswith("readers/")]
    assert [t.topic for t in day.door.told if t.topic == "readers/door-1/receipts"], "who may, does hear"
    assert not [e for e in day.daemon.events() if e["data"].get("read") == "stolen-1"]


def test_nothing_personal_has_left_the_directory(day: Day) -> None:
    """After a day with names, cards and codes: not in MQTT, not in the log, not in what the daemon says."""
    day.act(day.marco_http, day.arrive(day.book(), "last-1"), "coming")
    words = [word for booking in day.bookings for word in booking.personal]
    words += [f"{name.title()} Cognome" for name in ("marco", "giulia")] + [GUEST, "zoe@example.org", "Paoli"]
    words += day.daemon.tokens.values()
    heard = b"\n".join(told.topic.encode() + told.payload for told in day.everything)
    assert len(day.everything) > 10
    files = [day.daemon.data / "log.db", day.daemon.data / "log.db-wal", day.daemon.folder / "daemon.log"]
    kept = b"\n".join(path.read_bytes() for path in files if path.exists())
    assert b"visit.opened" in kept
    for word in words:
        octets = word.encode()
        assert octets not in heard, f"{word} went over MQTT"
        assert octets not in kept, f"{word} is in the log"
    directory = b"".join(path.read_bytes() for path in day.daemon.data.glob("directory.db*"))
    assert f"Famiglia-{day.bookings[-1].visitor}".encode() in directory, "the search does find what is there"
