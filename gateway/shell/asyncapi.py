"""The store's MQTT as an AsyncAPI 3.0 document, made from one table of topics.

`python -m gateway.shell.asyncapi` writes `asyncapi.json`; a test fails when it is not current. Topics are below
`soglia/v1/{store}/`. `send` is what the gateway publishes, `receive` what it subscribes to.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("asyncapi.json")
PREFIX = "soglia/v1/{store}"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: who sends it (`send`: the gateway), how, and the names of its messages in `MESSAGES`."""

    address: str
    action: str
    messages: tuple[str, ...]
    summary: str
    retain: bool = False
    qos: int = 1


TOPICS: tuple[Topic, ...] = (
    Topic("readers/{reader}/reads", "receive", ("read",), "A remote reader has read something."),
    Topic(
        "readers/{reader}/receipts",
        "send",
        ("receipt",),
        "The answer to a read, after the commit: only now the reader beeps and forgets it.",
    ),
    Topic("readers/{reader}/status", "receive", ("status",), "A reader's presence; last will.", retain=True),
    Topic(
        "clerks/{clerk}/alerts",
        "send",
        ("alert", "alert-closed"),
        "Somebody has arrived for this clerk, or no longer needs her. Expires; never retained.",
    ),
    Topic(
        "clerks/{clerk}/commands", "receive", ("command",), "A clerk answers an alert or moves a visit on."
    ),
    Topic("clerks/{clerk}/receipts", "send", ("receipt",), "The answer to a command, after the commit."),
    Topic("clerks/{clerk}/status", "receive", ("status",), "A tablet's presence; last will.", retain=True),
    Topic("floor/alerts", "send", ("alert", "alert-closed"), "To every clerk on shift."),
    Topic(
        "visits/{visit}/state",
        "send",
        ("visit-state",),
        "How a visit stands, for kiosks and signage; no personal data.",
    ),
    Topic("gateway/status", "send", ("status",), "The gateway's presence; last will.", retain=True),
)

_ID = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
    }


def _event(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """A CloudEvent of type `soglia.{name}.v1`."""
    required = {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 128},
        "source": _TEXT,
        "type": {"const": f"soglia.{name}.v1"},
        "data": data,
    }
    return _object(required, {"time": _TIME, "subject": _TEXT, "datacontenttype": _TEXT})


def _read() -> dict[str, Any]:
    by_technology: dict[str, dict[str, Any]] = {
        "qr": _object({"payload": _TEXT}, {"symbology": _TEXT}),
        "nfc": _object({"uid": {"type": "string", "pattern": "^[0-9A-Fa-f]+$"}}, {"ndef": _TEXT}),
        "ble": _object({"address": _TEXT, "rssi": {"type": "integer"}, "advertisement": _TEXT}),
        "rfid": _object(
            {"epc": {"type": "string", "pattern": "^[0-9A-Fa-f]+$"}},
            {"antenna": {"type": "integer"}, "rssi": {"type": "number"}},
        ),
    }
    technology = {"technology": {"enum": list(by_technology)}}
    return _object(technology) | {
        "allOf": [
            {"if": {"properties": {"technology": {"const": name}}}, "then": fields}
            for name, fields in by_technology.items()
        ]
    }


_OUTCOME = {"enum": ["accepted", "repeated", "refused"]}
_FIRST = _object({"outcome": _OUTCOME}, {"reason": _TEXT})
_RECEIPT = _object({"outcome": _OUTCOME}, {"reason": _TEXT, "seq": _COUNT, "first": _FIRST}) | {
    "oneOf": [_object({"read": _TEXT}), _object({"command": _TEXT})]
}
_ALERT = _object(
    {
        "alert": _ID,
        "visit": _ID,
        "level": {"enum": ["clerk", "backup", "pool", "manager"]},
        "match": {"enum": ["expected", "known", "ambiguous", "unknown"]},
        "zone": _TEXT,
        "flags": {"type": "array", "items": _TEXT},
        "expires_at": _TIME,
        "seq": _COUNT,
    },
    {"appointment_start": _TIME, "attempt": {"type": "integer", "minimum": 1}},
)
_ONLINE = _object({"online": {"type": "boolean"}})
_STATUS = {
    "description": "Whether it is there: bare, or as the data of a CloudEvent.",
    "anyOf": [_ONLINE, _object({"data": _ONLINE})],
}
ACTIONS = ("delivered", "coming", "greeted", "serving", "done", "pass", "not_here", "refuse", "undo")
_COMMAND = _object(
    {"visit": _ID, "action": {"enum": list(ACTIONS)}},
    {"alert": _ID, "outcome": _TEXT, "to": _ID, "reason": _TEXT},
)

MESSAGES: dict[str, dict[str, Any]] = {
    "read": _event("read", _read()),
    "receipt": _event("receipt", _RECEIPT),
    "alert": _event("alert", _ALERT),
    "alert-closed": _event(
        "alert-closed", _object({"alert": _ID, "visit": _ID, "reason": _TEXT}, {"by": _ID})
    ),
    "command": _event("command", _COMMAND),
    "visit-state": _event("visit-state", _object({"visit": _ID, "state": _TEXT, "seq": _COUNT})),
    "status": _STATUS,
}
"""The payloads, by name, as JSON Schema."""


def document() -> dict[str, Any]:
    """The whole AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Soglia: the store's MQTT",
            "version": "1.0.0",
            "description": "CloudEvents 1.0 in structured JSON over MQTT 3.1.1 or 5. "
            "Unknown fields are kept and passed on.",
        },
        "defaultContentType": "application/json",
        "channels": {_name(topic): _channel(topic) for topic in TOPICS},
        "operations": {f"{topic.action}-{_name(topic)}": _operation(topic) for topic in TOPICS},
        "components": {"messages": {name: _message(name) for name in MESSAGES}},
    }


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def _name(topic: Topic) -> str:
    """`clerks/{clerk}/alerts` → `clerk-alerts`."""
    return re.sub(r"\w+/\{(\w+)\}", r"\1", topic.address).replace("/", "-")


def _channel(topic: Topic) -> dict[str, Any]:
    address = f"{PREFIX}/{topic.address}"
    return {
        "address": address,
        "summary": topic.summary,
        "parameters": {
            name: {"description": f"The {name}'s id."} for name in re.findall(r"\{(\w+)\}", address)
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in topic.messages},
    }


def _operation(topic: Topic) -> dict[str, Any]:
    channel = f"#/channels/{_name(topic)}"
    return {
        "action": topic.action,
        "channel": {"$ref": channel},
        "summary": topic.summary,
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in topic.messages],
        "bindings": {"mqtt": {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}},
    }


def _message(name: str) -> dict[str, Any]:
    schema = MESSAGES[name]
    always_cloud_event = "specversion" in schema.get("properties", {})
    kind = "application/cloudevents+json" if always_cloud_event else "application/json"
    return {"name": name, "contentType": kind, "payload": schema}


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
