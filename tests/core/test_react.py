"""The floor's messages, byte by byte as they go out."""

import json
from datetime import UTC, datetime, timedelta

from gateway.core import events as ev
from gateway.core.react import alert_topic, envelope, react

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
ALERTED = ev.VisitAlerted(
    at=TEN,
    visit="visit-1",
    alert="alert-1",
    level="clerk",
    to="marco",
    attempt=1,
    match="expected",
    zone="door",
    appointment_start=TEN,
    flags=("late", "hint"),
    expires_at=TEN + timedelta(minutes=15),
)


def test_an_alert_is_what_the_contract_says() -> None:
    alert, state = react(ALERTED, 42)
    assert alert.topic == "clerks/marco/alerts"
    assert alert.expires_at == TEN + timedelta(minutes=15)
    assert json.loads(envelope(alert, "epoch.42", "milano-01")) == {
        "specversion": "1.0",
        "id": "epoch.42",
        "source": "soglia/milano-01",
        "type": "soglia.alert.v1",
        "time": "2026-11-22T10:00:00.000000Z",
        "datacontenttype": "application/json",
        "data": {
            "alert": "alert-1",
            "visit": "visit-1",
            "level": "clerk",
            "match": "expected",
            "appointment_start": "2026-11-22T10:00:00.000000Z",
            "zone": "door",
            "flags": ["late", "hint"],
            "attempt": 1,
            "expires_at": "2026-11-22T10:15:00.000000Z",
            "seq": 42,
        },
    }
    assert state.topic == "visits/visit-1/state"
    assert state.data == {"visit": "visit-1", "state": "alerted", "seq": 42}


def test_the_end_of_an_alert_says_who_and_why() -> None:
    refs = (ev.AlertRef(alert="alert-1", to="marco"), ev.AlertRef(alert="alert-2", to=None))
    taken = react(ev.VisitAcknowledged(at=TEN, visit="visit-1", clerk="giulia", closed=refs), 43)
    assert [n.topic for n in taken] == ["clerks/marco/alerts", "floor/alerts", "visits/visit-1/state"]
    assert taken[0].type == "soglia.alert-closed.v1"
    assert taken[0].data == {"alert": "alert-1", "visit": "visit-1", "reason": "taken", "by": "giulia"}
    over = ev.VisitClosed(
        at=TEN, visit="visit-1", reason="timeout", closed=refs[:1], rescan_until=TEN, forget_at=TEN
    )
    assert react(over, 44)[0].data == {"alert": "alert-1", "visit": "visit-1", "reason": "timeout"}


def test_what_concerns_nobody_on_the_floor_is_not_told() -> None:
    assert react(ev.ReaderLost(at=TEN, reader="door-1"), 1) == []
    assert react(ev.AlertDelivered(at=TEN, visit="visit-1", alert="alert-1", clerk="marco"), 1) == []


def test_topics() -> None:
    assert alert_topic("marco") == "clerks/marco/alerts"
    assert alert_topic(None) == "floor/alerts"
