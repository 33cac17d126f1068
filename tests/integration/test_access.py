"""Tokens: issued once, stored as hashes, stopped at once."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import bcrypt
import pytest

from gateway.core.errors import Refused
from gateway.shell.access import Access, Scope, mosquitto_hash
from gateway.shell.keys import Keys

AT = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MARCO = Scope.parse("clerk:marco")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def access(path: Path) -> Iterator[Access]:
    keys = Keys.open(path)
    yield Access(keys)
    keys.close()


def refusal(access: Access, token: str, at: datetime = AT) -> str:
    with pytest.raises(Refused) as refused:
        access.verify(token, at)
    assert not token or token not in str(refused.value)
    return refused.value.reason


def test_a_token_opens_what_its_scope_says(access: Access) -> None:
    issued = access.issue(MARCO, None, AT)
    grant = access.verify(issued.token, AT)
    assert (grant.id, grant.scope) == (issued.id, MARCO)
    assert len(issued.token.encode()) <= 72
    assert len(base64.urlsafe_b64decode(issued.token + "=")) == 32
    assert issued.token not in repr(issued)


@pytest.mark.parametrize("token", ["", "x", "é" * 40, "A" * 43, "\x00", "\udcff"])
def test_a_token_that_is_not_ours(access: Access, token: str) -> None:
    access.issue(MARCO, None, AT)
    assert refusal(access, token) == "token-unknown"


def test_expiry_is_exact_and_in_any_time_zone(access: Access) -> None:
    rome = timezone(HOUR)
    issued = access.issue(MARCO, (AT + HOUR).astimezone(rome), AT)
    assert access.verify(issued.token, AT + HOUR - timedelta(microseconds=1)).scope == MARCO
    assert refusal(access, issued.token, AT + HOUR) == "token-expired"
    with pytest.raises(Refused, match="expiry-past"):
        access.issue(MARCO, AT, AT)


def test_a_revoked_token_stops_at_once_and_the_others_do_not(access: Access) -> None:
    first, second = access.issue(MARCO, None, AT), access.issue(MARCO, None, AT)
    access.verify(first.token, AT)
    access.revoke(first.id)
    assert refusal(access, first.token) == "token-revoked"
    assert access.verify(second.token, AT).id == second.id
    access.revoke(first.id)
    with pytest.raises(Refused, match="token-unknown"):
        access.revoke("tok-none")


def test_a_revocation_by_another_process_counts_too(access: Access, path: Path) -> None:
    issued = access.issue(MARCO, None, AT)
    access.verify(issued.token, AT)
    keys = Keys.open(path)
    Access(keys).revoke(issued.id)
    keys.close()
    assert refusal(access, issued.token) == "token-revoked"


def test_tokens_outlive_the_program_and_are_never_stored(access: Access, path: Path) -> None:
    issued = access.issue(MARCO, AT + HOUR, AT)
    keys = Keys.open(path)
    again = Access(keys)
    assert again.verify(issued.token, AT).id == issued.id
    assert again.list() == access.list()
    keys.close()
    assert issued.token.encode() not in path.read_bytes()
    (listed,) = access.list()
    assert (listed.id, listed.scope, listed.issued_at, listed.expires_at) == (issued.id, MARCO, AT, AT + HOUR)


def test_the_newest_valid_token_is_the_mqtt_password(access: Access) -> None:
    lasting = access.issue(MARCO, None, AT)
    brief = access.issue(MARCO, AT + HOUR, AT)
    access.issue(Scope.parse("operator"), None, AT)

    def password_of_marco(at: datetime) -> set[str]:
        (user,) = [user for user in access.mqtt_users(at) if user.username == "clerk/marco"]
        return {t.id for t in (lasting, brief) if bcrypt.checkpw(t.token.encode(), user.bcrypt.encode())}

    assert password_of_marco(AT) == {brief.id}
    assert access.next_expiry(AT) == AT + HOUR
    assert password_of_marco(AT + HOUR) == {lasting.id}
    assert access.next_expiry(AT + HOUR) is None
    access.revoke(lasting.id)
    assert [user.username for user in access.mqtt_users(AT + HOUR)] == ["operator"]


def test_next_expiry_looks_past_the_revoked(access: Access) -> None:
    soon = access.issue(MARCO, AT + HOUR, AT)
    access.issue(Scope.parse("reader:r"), AT + 2 * HOUR, AT)
    assert access.next_expiry(AT) == AT + HOUR
    access.revoke(soon.id)
    assert access.next_expiry(AT) == AT + 2 * HOUR


def test_mosquittos_hash_is_pbkdf2_sha512() -> None:
    _, kind, iterations, salt, derived = mosquitto_hash("a token").split("$")
    expected = hashlib.pbkdf2_hmac("sha512", b"a token", base64.b64decode(salt), int(iterations))
    assert (kind, base64.b64decode(derived)) == ("7", expected)
    assert mosquitto_hash("a token") != mosquitto_hash("a token")


def test_looking_up_a_token_is_quick(access: Access) -> None:
    issued = [access.issue(Scope.parse(f"reader:r{number}"), None, AT) for number in range(50)]
    access.verify(issued[0].token, AT)
    best = min(timed(access, issued[number].token) for number in range(50))
    assert best < 0.0005  # bcrypt at the lowest cost takes longer than this


def timed(access: Access, token: str) -> float:
    began = time.perf_counter()
    access.verify(token, AT)
    return time.perf_counter() - began
