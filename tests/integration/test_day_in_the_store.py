"""A visitor comes, a clerk is told, meets her, and the platform hears of it: the daemon, by its contracts."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync import batch
from tests.rigs.days import Day
from tests.rigs.station import STORE

ALERT_FIELDS = {"alert", "visit", "level", "match", "zone", "flags", "expires_at", "seq"}


def test_a_signed_code_brings_the_clerk_and_the_visit_goes_its_way(day: Day) -> None:
    booking = day.book(minutes=5)
    day.door.read("day-1", "qr", payload=day.daemon.qr(booking.appointment), symbology="]Q1")

    receipt = day.door.receipt("day-1")
    assert receipt["outcome"] == "accepted"
    visit = day.visit_of("day-1")

    alert = day.marco.alert(visit)
    assert alert.topic == "clerks/marco/alerts"
    assert not alert.retain
    assert alert.event["specversion"] == "1.0"
    assert set(alert.data) - {"appointment_start", "attempt"} == ALERT_FIELDS
    assert alert.data["level"] == "clerk"
    assert alert.data["match"] == "expected"
    assert alert.data["zone"] == "door"
    assert alert.data["flags"] == []
    assert datetime.fromisoformat(alert.data["expires_at"]) > datetime.now(UTC)
    assert datetime.fromisoformat(alert.data["appointment_start"]) > datetime.now(UTC)

    name = alert.data["alert"]
    day.marco.command("day-1-delivered", visit, "delivered", alert=name)
    assert day.marco.receipt("day-1-delivered")["outcome"] == "accepted"
    day.marco.command("day-1-coming", visit, "coming", alert=name)
    assert day.marco.receipt("day-1-coming")["outcome"] == "accepted"
    assert day.state(visit)["state"] == "acknowledged"
    assert day.state(visit)["assignment"]["taken_by"] == "marco"

    greeted = day.act(day.marco_http, visit, "greeted")
    assert (greeted.status_code, greeted.json()["outcome"]) == (200, "accepted")
    assert day.act(day.marco_http, visit, "serving").status_code == 200
    assert day.act(day.marco_http, visit, "done", outcome="sold").status_code == 200
    assert visit not in [v["visit"] for v in _open_visits(day)]

    last = day.kiosk.until(
        lambda t: t.topic == f"visits/{visit}/state" and t.data["state"] == "closed", "closed"
    )
    assert set(last.data) == {"visit", "state", "seq"}
    told = [t.data["state"] for t in day.kiosk.told if t.topic == f"visits/{visit}/state"]
    assert told == ["arrived", "alerted", "acknowledged", "greeted", "serving", "closed"]
    kinds = [e["type"] for e in day.daemon.events() if e["subject"] == visit]
    assert kinds.count("soglia.visit.opened.v1") == 1


def test_the_others_hear_that_somebody_has_taken_it(day: Day) -> None:
    booking = day.book(minutes=5, with_="davide")  # who is off shift: the next best is called at once
    visit = day.arrive(booking, "others-1")
    first = day.marco if _called(day, visit) == "marco" else day.giulia
    alert = first.alert(visit)
    assert alert.data["level"] == "backup"
    other = day.giulia_http if first is day.marco else day.marco_http
    assert day.act(other, visit, "coming").status_code == 200
    closed = first.until(lambda t: t.type == "soglia.alert-closed.v1" and t.data["visit"] == visit, "closed")
    by = "giulia" if first is day.marco else "marco"
    assert closed.topic == f"clerks/{first.name}/alerts"
    assert closed.data == {"alert": alert.data["alert"], "visit": visit, "by": by, "reason": "taken"}


def test_what_is_not_possible_now_is_409_and_changes_nothing(day: Day) -> None:
    visit = day.arrive(day.book(), "conflict-1")
    assert _problem(day.act(day.marco_http, visit, "done")) == (409, "not-taken")
    assert day.act(day.marco_http, visit, "coming").status_code == 200
    before = day.state(visit)
    assert _problem(day.act(day.giulia_http, visit, "coming")) == (409, "taken")
    assert _problem(day.act(day.marco_http, visit, "coming")) == (409, "already-coming")
    assert day.state(visit) == before
    assert day.act(day.marco_http, visit, "done").status_code == 200
    assert _problem(day.act(day.marco_http, visit, "greeted")) == (409, "visit-closed")
    answer = day.marco_http.post("/api/v1/visits/no-such/commands", json={"id": "x", "action": "coming"})
    assert _problem(answer) == (404, "unknown-visit")


def test_a_repeated_command_is_answered_with_the_first_receipt(day: Day) -> None:
    visit = day.arrive(day.book(), "again-1")
    first = day.act(day.marco_http, visit, "coming", name="again-coming")
    second = day.act(day.marco_http, visit, "coming", name="again-coming")
    assert (first.status_code, second.status_code) == (200, 200)
    assert second.json()["outcome"] == "repeated"
    assert second.json()["first"] == {"outcome": "accepted"}
    assert second.json()["seq"] == first.json()["seq"]
    # The same command over MQTT is the same command.
    day.marco.command("again-coming", visit, "coming")
    assert day.marco.receipt("again-coming")["outcome"] == "repeated"
    assert _problem(day.act(day.marco_http, visit, "done", name="again-coming")) == (409, "id-reused")
    # A refusal is repeated as a refusal, with the first status.
    assert _problem(day.act(day.giulia_http, visit, "coming", name="again-2")) == (409, "taken")
    refused = day.act(day.giulia_http, visit, "coming", name="again-2")
    assert _problem(refused) == (409, "taken")
    assert refused.json()["outcome"] == "repeated"
    assert refused.json()["first"] == {"outcome": "refused", "reason": "taken"}


def test_a_visit_passed_on_rings_at_the_colleague_s(day: Day) -> None:
    visit = day.arrive(day.book(), "pass-1")
    assert day.act(day.marco_http, visit, "coming").status_code == 200
    day.marco.command("pass-1", visit, "pass", to="giulia", reason="lunch")
    assert day.marco.receipt("pass-1")["outcome"] == "accepted"
    assert day.giulia.alert(visit).data["level"] == "clerk"
    assert day.act(day.giulia_http, visit, "coming").status_code == 200
    assert day.act(day.giulia_http, visit, "done", outcome="advice").status_code == 200


def test_the_dossier_opens_after_coming_and_each_look_is_audited(day: Day) -> None:
    booking = day.book()
    visit = day.arrive(booking, "dossier-1")
    url = f"/api/v1/visits/{visit}/dossier"
    assert _problem(day.marco_http.get(url)) == (403, "confirmation-required")
    assert day.act(day.marco_http, visit, "coming").status_code == 200
    assert _problem(day.giulia_http.get(url)) == (403, "not-assigned")
    dossier = day.marco_http.get(url)
    assert dossier.status_code == 200
    assert dossier.json()["visitor"]["given_name"] == f"Nome-{booking.visitor}"
    assert booking.card not in dossier.text
    assert _audited(day, booking.visitor) == [("clerk:marco", "dossier", visit)]


def test_a_hint_opens_the_dossier_only_after_the_clerk_has_seen_the_person(day: Day) -> None:
    booking = day.book()
    day.door.read("hint-1", "nfc", uid=booking.card)
    assert day.door.receipt("hint-1")["outcome"] == "accepted"
    visit = day.visit_of("hint-1")
    assert "hint" in day.marco.alert(visit).data["flags"]
    assert day.act(day.marco_http, visit, "coming").status_code == 200
    url = f"/api/v1/visits/{visit}/dossier"
    assert _problem(day.marco_http.get(url)) == (403, "confirmation-required")
    assert day.act(day.marco_http, visit, "greeted").status_code == 200
    assert day.marco_http.get(url).status_code == 200


def test_a_clerk_receives_somebody_who_came_without_a_read(day: Day) -> None:
    booking = day.book()
    found = day.marco_http.get("/api/v1/visitors", params={"name": f"Famiglia-{booking.visitor}"}).json()
    assert [v["visitor"] for v in found["visitors"]] == [booking.visitor]
    assert booking.appointment in [
        a["appointment"] for a in day.marco_http.get("/api/v1/agenda").json()["appointments"]
    ]
    answer = day.marco_http.post("/api/v1/visits", json={"id": "walk-1", "visitor": booking.visitor})
    assert answer.status_code == 201
    visit = answer.json()["visit"]
    assert day.state(visit)["match"] == "expected"
    again = day.marco_http.post("/api/v1/visits", json={"id": "walk-2", "visitor": booking.visitor})
    assert _problem(again) == (409, "already-here")
    walk_in = day.giulia_http.post("/api/v1/visits", json={"id": "walk-3"})
    assert day.state(walk_in.json()["visit"])["match"] == "unknown"


def test_a_clerk_on_a_break_is_not_called(day: Day) -> None:
    paused = day.marco_http.put("/api/v1/clerks/me/status", json={"status": "paused"})
    assert paused.status_code == 200
    try:
        visit = day.arrive(day.book(), "break-1")
        assert day.giulia.alert(visit).data["level"] == "backup"
        assert not day.marco.of(visit, "soglia.alert.v1")
    finally:
        back = day.marco_http.put("/api/v1/clerks/me/status", json={"status": "available"})
        assert back.status_code == 200


def test_the_stream_resumes_where_it_was_left(day: Day) -> None:
    seq = day.marco_http.get("/api/v1/visits").json()["seq"]
    visit = day.arrive(day.book(), "stream-1")
    with day.daemon.http("clerk:marco") as client:
        first = _stream(client, seq, lambda e: e["subject"] == visit and "opened" in e["type"])
    at = first[-1]["sequence"]
    assert [e["sequence"] for e in first] == list(range(seq + 1, at + 1))
    assert day.act(day.marco_http, visit, "coming").status_code == 200
    with day.daemon.http("clerk:marco") as client:
        rest = _stream(client, at, lambda e: e["type"] == "soglia.visit.acknowledged.v1")
    assert [e["sequence"] for e in rest] == list(range(at + 1, rest[-1]["sequence"] + 1))
    assert rest[-1]["subject"] == visit


def test_the_platform_pulls_a_verified_chain_and_acknowledges_it(day: Day) -> None:
    day.arrive(day.book(), "batch-1")
    keys = day.platform.get("/api/v1/sync/keys").json()["keys"]
    key = Ed25519PublicKey.from_public_bytes(batch.from_base64url(keys[0]["public_key"]))
    position: batch.Position | None = None
    first = told = day.platform.get("/api/v1/sync/batches", params={"limit": 7}).json()
    while told["count"]:
        assert (told["store"], told["key_id"]) == (STORE, keys[0]["key_id"])
        position = batch.verify(told, key, position)
        params = {"limit": 7, "after": told["next"]}
        told = day.platform.get("/api/v1/sync/batches", params=params).json()
    assert position is not None
    assert (told["first_seq"], told["last_seq"]) == (position[0] + 1, position[0])
    assert told["hash"] == told["prev_hash"] == position[1]
    assert told["next"] == params["after"]

    again = day.platform.get("/api/v1/sync/batches", params={"limit": 7}).json()
    assert again["events"] == first["events"], "a GET is repeatable"
    acked = day.platform.post("/api/v1/sync/ack", json={"cursor": told["next"]})
    assert acked.json() == {"acknowledged_seq": position[0]}
    older = day.platform.post("/api/v1/sync/ack", json={"cursor": first["next"]})
    assert older.json() == {"acknowledged_seq": position[0]}, "never goes back"
    made_up = day.platform.get("/api/v1/sync/batches", params={"after": "bm9uc2Vuc2U"})
    assert _problem(made_up)[0] == 400


def test_a_pull_waits_for_the_next_event(day: Day) -> None:
    booking = day.book()
    last: dict[str, Any] = {"high_water": -1, "last_seq": 0, "next": None}
    while last["last_seq"] != last["high_water"]:
        params = {"limit": "5000"} | ({"after": last["next"]} if last["next"] else {})
        last = day.platform.get("/api/v1/sync/batches", params=params).json()
    found: list[dict[str, Any]] = []

    def pull() -> None:
        with day.daemon.http("platform") as client:
            params = {"after": last["next"], "wait": "20"}
            found.append(client.get("/api/v1/sync/batches", params=params).json())

    thread = threading.Thread(target=pull)
    thread.start()
    day.door.read("wait-1", "qr", payload=booking.code)
    thread.join(25)
    assert found[0]["first_seq"] == last["last_seq"] + 1
    assert found[0]["count"] > 0


def test_replay_verify_and_explain_agree_with_the_live_state(day: Day) -> None:
    booking = day.book()
    visit = day.arrive(booking, "explain-1")
    told = day.daemon.soglia("replay").json
    assert told["live"]["equal"] is True
    assert day.daemon.soglia("verify").json["events"] >= told["seq"]
    text = "\n".join(day.daemon.soglia("explain", visit).json["told"])
    for word in (booking.visitor, booking.appointment, "marco", "booking code", "explain-1", "door-1"):
        assert word in text
    assert day.daemon.soglia("explain", "visit-unknown", expect=1).json["error"] == "unknown-visit"


def _called(day: Day, visit: str) -> str:
    return next(str(a["to"]) for a in _alerted(day, visit))


def _alerted(day: Day, visit: str) -> list[dict[str, Any]]:
    events = day.daemon.events()
    return [e["data"] for e in events if e["subject"] == visit and e["type"] == "soglia.visit.alerted.v1"]


def _open_visits(day: Day) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = day.marco_http.get("/api/v1/visits", params={"open": "true"}).json()[
        "visits"
    ]
    return found


def _problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"].endswith(body["reason"])
    return answer.status_code, body["reason"]


def _audited(day: Day, visitor: str) -> list[tuple[str, str, str]]:
    uri = f"{(day.daemon.data / 'directory.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as db:
        return db.execute("SELECT who, action, why FROM audit WHERE whose = ?", (visitor,)).fetchall()


def _stream(client: httpx.Client, after: int, last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The events after `after`, up to the first for which `last` is true."""
    found: list[dict[str, Any]] = []
    with client.stream("GET", "/api/v1/stream", headers={"last-event-id": str(after)}) as answer:
        assert answer.status_code == 200
        for frame in _frames(answer):
            if "id" not in frame:
                continue
            event = json.loads(frame["data"])
            assert int(frame["id"]) == event["sequence"]
            found.append(event)
            if last(event):
                return found
    pytest.fail("the stream ended")


def _frames(answer: httpx.Response) -> Iterator[dict[str, str]]:
    frame: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            field, _, value = line.partition(": ")
            frame[field] = value
        else:
            yield frame
            frame = {}
