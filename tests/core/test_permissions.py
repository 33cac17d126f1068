"""The one table of who may do what, and how each broker wants it written."""

from __future__ import annotations

import pytest

from gateway.core.errors import Refused
from gateway.shell.permissions import (
    MqttUser,
    NatsSettings,
    mosquitto_acl,
    mosquitto_passwords,
    nats_config,
    permissions,
    prefix,
    subject,
)
from gateway.shell.scopes import Scope

ROWS = {
    "clerk:marco": (
        {"clerks/marco/commands", "clerks/marco/status"},
        {
            "clerks/marco/alerts",
            "clerks/marco/receipts",
            "floor/alerts",
            "gateway/status",
            "visits/+/state",
        },
    ),
    "reader:door-1": (
        {"readers/door-1/reads", "readers/door-1/status"},
        {"readers/door-1/receipts", "gateway/status"},
    ),
    "kiosk:k1": (
        {"readers/k1/reads", "readers/k1/status"},
        {"readers/k1/receipts", "gateway/status", "visits/+/state"},
    ),
    "operator": (set(), {"gateway/status", "readers/+/status"}),
    "platform": (set(), {"gateway/status", "readers/+/status"}),
}


@pytest.mark.parametrize("scope", ROWS)
def test_the_table(scope: str) -> None:
    allowed = permissions(Scope.parse(scope))
    assert (set(allowed.publish), set(allowed.subscribe)) == ROWS[scope]


def test_whatever_a_client_may_send_the_gateway_hears_and_the_other_way_round() -> None:
    gateway = permissions(None)
    for scope in ("clerk:a", "reader:a", "kiosk:a"):
        client = permissions(Scope.parse(scope))
        for topic in client.publish:
            assert topic.replace("/a/", "/+/") in gateway.subscribe
        for topic in client.subscribe:
            assert topic.replace("/a/", "/+/") in gateway.publish


@pytest.mark.parametrize(
    ("text", "role", "name", "username"),
    [
        ("platform", "platform", None, "platform"),
        ("operator", "operator", None, "operator"),
        ("clerk:marco", "clerk", "marco", "clerk/marco"),
        ("reader:door.1", "reader", "door.1", "reader/door.1"),
        ("kiosk:a:b", "kiosk", "a:b", "kiosk/a:b"),
    ],
)
def test_scopes_round_trip(text: str, role: str, name: str | None, username: str) -> None:
    scope = Scope.parse(text)
    assert (scope.role, scope.name, scope.username, str(scope)) == (role, name, username, text)


@pytest.mark.parametrize(
    "text",
    ["", "clerk", "clerk:", "platform:x", "root", "clerk:a/b", "clerk:+", "reader:#", "clerk:a b", ":x"],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="scope-invalid"):
        Scope.parse(text)


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("soglia/v1/s/readers/door.1/reads", "soglia.v1.s.readers.door//1.reads"),
        ("clerks/.a/alerts", "clerks.//a.alerts"),
        ("clerks/a./alerts", "clerks.a//.alerts"),
        ("visits/+/state", "visits.*.state"),
        ("clerks/a:b_c-d/status", "clerks.a:b_c-d.status"),
    ],
)
def test_topics_as_nats_subjects(topic: str, expected: str) -> None:
    assert subject(topic) == expected


def test_a_store_id_that_could_break_out_of_the_prefix_is_refused() -> None:
    assert prefix("milano-01") == "soglia/v1/milano-01"
    for bad in ("", "a/b", "+", 'x"', "a b"):
        with pytest.raises(Refused, match="store-invalid"):
            prefix(bad)


MARCO = MqttUser("clerk/marco", Scope.parse("clerk:marco"), "$2b$04$marco", "$7$101$c2FsdA==$aGFzaA==")
OPERATOR = MqttUser("operator", Scope.parse("operator"), "$2b$04$oper", "$7$101$c2FsdA==$b3Blcg==")
GATEWAY = MqttUser("gateway", None, "$2b$04$gate", "$7$101$c2FsdA==$Z2F0ZQ==")


def test_mosquittos_files() -> None:
    assert mosquitto_passwords([GATEWAY, MARCO]) == (
        "gateway:$7$101$c2FsdA==$Z2F0ZQ==\nclerk/marco:$7$101$c2FsdA==$aGFzaA==\n"
    )
    assert mosquitto_acl("s", [OPERATOR, MARCO]) == (
        "user operator\n"
        "topic read soglia/v1/s/gateway/status\n"
        "topic read soglia/v1/s/readers/+/status\n"
        "\n"
        "user clerk/marco\n"
        "topic write soglia/v1/s/clerks/marco/commands\n"
        "topic write soglia/v1/s/clerks/marco/status\n"
        "topic read soglia/v1/s/clerks/marco/alerts\n"
        "topic read soglia/v1/s/clerks/marco/receipts\n"
        "topic read soglia/v1/s/floor/alerts\n"
        "topic read soglia/v1/s/gateway/status\n"
        "topic read soglia/v1/s/visits/+/state\n"
    )


def test_an_id_that_mosquitto_would_cut_in_two_is_refused() -> None:
    scope = Scope.parse("clerk:shop:marco")
    with pytest.raises(Refused, match="user-not-exportable"):
        mosquitto_passwords([MqttUser(scope.username, scope, "", "")])


def test_the_nats_configuration_grants_exactly_the_table() -> None:
    settings = NatsSettings("127.0.0.1", 1884, 9001, ("http://tablet",), "/data/js", "$2b$04$admin")
    text = nats_config(settings, "s", [GATEWAY, MARCO, OPERATOR])
    (user,) = [part for part in text.split("{ user: ") if part.startswith('"clerk/marco"')]
    assert '"$2b$04$marco"' in user
    assert '"soglia.v1.s.clerks.marco.commands", "soglia.v1.s.clerks.marco.status"' in user
    assert '["MQTT", "MQTT_WS"]' in user
    assert "anna" not in user
    (operator,) = [part for part in text.split("{ user: ") if part.startswith('"operator"')]
    assert 'publish: { deny: ">" }' in operator
    assert 'domain: "edge"' in text
    assert "http:" not in text.replace('"http://tablet"', "")  # no monitoring port
    assert "$2b$04$gate" not in repr(GATEWAY)
