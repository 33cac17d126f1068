"""The AsyncAPI document is the code's, and the code, the contract and the brokers' permissions agree on topics."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from jsonschema import Draft202012Validator

from gateway.core.events import AlertRef, Event, VisitAcknowledged, VisitAlerted, VisitClosed, VisitOpened
from gateway.core.react import envelope, react
from gateway.shell import asyncapi
from gateway.shell.asyncapi import MESSAGES, TOPICS
from gateway.shell.permissions import CANARY, permissions
from gateway.shell.scopes import Scope
from tests.rigs import generated

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
READ = {
    "specversion": "1.0",
    "id": "0193",
    "source": "soglia/milano-01/readers/door-1",
    "type": "soglia.read.v1",
    "time": "2026-11-22T10:02:03.456Z",
    "data": {"technology": "qr", "payload": "x", "symbology": "]Q1"},
}


def fits(message: str, payload: Any) -> bool:
    return Draft202012Validator(MESSAGES[message]).is_valid(payload)


def test_the_committed_document_is_current() -> None:
    assert asyncapi.FILE.read_text(encoding="utf-8") == asyncapi.text(), (
        "run `python -m gateway.shell.asyncapi`"
    )


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()
    found = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert len(found) > 20
    for reference in found:
        at = document
        for key in reference.split("/"):
            at = at[key]
    for schema in MESSAGES.values():
        Draft202012Validator.check_schema(schema)


def page(name: str) -> str:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} is not beside this checkout")
    return (SHARED / name).read_text(encoding="utf-8")


def test_the_topics_are_the_design_s() -> None:
    table = page("design.md").split("## 5.")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$", table, re.MULTILINE)
    listed = {(topic, "retained" in how and "never" not in how) for topic, _, how in rows}
    assert len(listed) == 10
    assert {(topic.address, topic.retain) for topic in TOPICS} == listed
    assert {topic.qos for topic in TOPICS} == {1}


def test_the_contract_names_no_other_topic_type_or_action() -> None:
    contract = page("contracts.md").split("## Events on MQTT")[1].split("\n## ")[0]
    topics = set(re.findall(r"`((?:readers|clerks|visits|floor|gateway)/[^`]+)`", contract))
    assert topics
    assert topics <= {topic.address for topic in TOPICS}
    types = set(re.findall(r"soglia\.[a-z-]+\.v1", contract))
    assert types <= set(re.findall(r"soglia\.[a-z-]+\.v1", asyncapi.text()))
    (actions,) = re.findall(r'"action":"([a-z_|]+)"', contract)
    assert tuple(actions.split("|")) == asyncapi.ACTIONS


def pattern(topic: str) -> str:
    """With a wildcard for each name."""
    return re.sub(r"\{\w+\}", "+", topic)


def test_the_gateway_may_do_what_the_document_says_and_nothing_else() -> None:
    allowed = permissions(None)
    sent = {pattern(topic.address) for topic in TOPICS if topic.action == "send"}
    received = {pattern(topic.address) for topic in TOPICS if topic.action == "receive"}
    assert set(allowed.publish) - {f"readers/{CANARY}/reads"} == sent
    assert set(allowed.subscribe) == received


def test_what_the_gateway_receives_somebody_may_send_and_the_other_way_round() -> None:
    scopes = [
        Scope.parse(text) for text in ("clerk:marco", "reader:door-1", "kiosk:hall", "platform", "operator")
    ]
    names = r"(?<=/)(marco|door-1|hall)(?=/)"
    publish = {re.sub(names, "+", t) for scope in scopes for t in permissions(scope).publish}
    subscribe = {re.sub(names, "+", t) for scope in scopes for t in permissions(scope).subscribe}
    assert publish == {pattern(topic.address) for topic in TOPICS if topic.action == "receive"}
    sent = {pattern(topic.address) for topic in TOPICS if topic.action == "send"}
    # A reader's presence is for the operator as well as for the gateway.
    assert subscribe == sent | {"readers/+/status"}


# -- payloads


@pytest.mark.parametrize(
    ("message", "data"),
    [
        ("receipt", {"read": "r", "outcome": "accepted"}),
        ("receipt", {"command": "c", "outcome": "repeated", "first": {"outcome": "accepted"}}),
        ("command", {"visit": "v", "action": "pass", "to": "anna", "reason": "lunch"}),
        ("visit-state", {"visit": "v", "state": "alerted", "seq": 3}),
    ],
)
def test_the_contract_s_examples_fit(message: str, data: dict[str, Any]) -> None:
    payload = {**READ, "type": f"soglia.{message}.v1", "data": data}
    assert fits(message, payload)
    assert not fits(message, {**payload, "data": {}})
    assert not fits(message, {**payload, "type": "soglia.read.v1"})


@pytest.mark.parametrize(
    "data",
    [
        READ["data"],
        {"technology": "nfc", "uid": "04a2", "ndef": "0QEA"},
        {"technology": "ble", "address": "a", "rssi": -60, "advertisement": ""},
        {"technology": "rfid", "epc": "30", "antenna": 1, "later": [1]},
    ],
)
def test_reads_fit_with_their_own_fields_only(data: dict[str, Any]) -> None:
    assert fits("read", {**READ, "data": data})
    own = next(key for key in data if key != "technology")
    assert not fits("read", {**READ, "data": {key: value for key, value in data.items() if key != own}})
    assert not fits("read", {**READ, "data": {**data, "technology": "smell"}})


def test_presence_is_bare_or_a_cloud_event() -> None:
    assert fits("status", {"online": True})
    assert fits("status", {"specversion": "1.0", "data": {"online": False}})
    assert not fits("status", {"data": {}})


reacting = generated.of(VisitOpened) | generated.of(VisitAlerted) | generated.of(VisitAcknowledged)


@given(reacting | generated.of(VisitClosed))
def test_every_notice_goes_to_a_listed_topic_and_fits(event: Event) -> None:
    for notice in react(event, 5):
        found = [t for t in TOPICS if re.fullmatch(pattern(t.address).replace("+", "[^/]*"), notice.topic)]
        if found:  # a generated id may hold a slash; real ones cannot
            payload = json.loads(envelope(notice, "n", "milano-01"))
            kinds = [MESSAGES[name]["properties"]["type"]["const"] for t in found for name in t.messages]
            assert notice.type in kinds
            assert found[0].action == "send"
            assert set(payload["data"]) <= set(
                MESSAGES[notice.type.split(".")[1]]["properties"]["data"]["properties"]
            )


def test_a_real_alert_and_its_end_fit() -> None:
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    alerted = VisitAlerted(
        at=at,
        visit="v",
        alert="a",
        level="clerk",
        to="marco",
        attempt=1,
        match="expected",
        zone="door",
        expires_at=at,
    )
    taken = VisitAcknowledged(at=at, visit="v", clerk="anna", closed=(AlertRef(alert="a", to=None),))
    for event, message in ((alerted, "alert"), (taken, "alert-closed")):
        payload = json.loads(envelope(react(event, 5)[0], "n", "milano-01"))
        assert fits(message, payload)
        del payload["data"]["alert"]
        assert not fits(message, payload)
