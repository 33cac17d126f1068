"""The key file: made once, private, and never replaced in silence."""

from __future__ import annotations

import hashlib
import sqlite3
import stat
from pathlib import Path

import pytest

from gateway.shell.keys import SECRETS, SIGNING, Keys, KeysError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


def reason(path: Path) -> str:
    with pytest.raises(KeysError) as refused:
        Keys.open(path)
    return refused.value.reason


def test_secrets_are_made_once_and_differ(path: Path) -> None:
    keys = Keys.open(path)
    first = {name: keys.secret(name) for name in SECRETS}
    signing = {name: keys.signing(name).key_id for name in SIGNING}
    keys.close()
    again = Keys.open(path)
    assert {name: again.secret(name) for name in SECRETS} == first
    assert {name: again.signing(name).key_id for name in SIGNING} == signing
    again.close()
    assert {len(value) for value in first.values()} == {32}
    assert len({*first.values()}) == len(SECRETS)
    other = Keys.open(path.with_name("other.db"))
    assert not {*first.values()} & {other.secret(name) for name in SECRETS}
    other.close()


def test_signing_keys_sign_and_are_named_by_their_public_half(path: Path) -> None:
    keys = Keys.open(path)
    batch, checkin = keys.signing("batch"), keys.signing("checkin")
    batch.public.verify(batch.private.sign(b"header"), b"header")
    assert batch.key_id == hashlib.sha256(batch.public.public_bytes_raw()).hexdigest()[:16]
    assert batch.key_id != checkin.key_id
    for name in ("nobody", "batch"):
        with pytest.raises(KeyError):
            keys.secret(name)
    with pytest.raises(KeyError):
        keys.signing("cursor")
    keys.close()


def test_the_file_is_private_and_an_open_one_is_refused(path: Path) -> None:
    Keys.open(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    assert reason(path) == "keys-mode"
    path.chmod(0o600)
    Keys.open(path).close()


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    assert reason(tmp_path / "nowhere" / "keys.db") == "keys-unreadable"


@pytest.mark.parametrize("offset", [0, 30, 100, 4096, 8192])
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, offset: int) -> None:
    Keys.open(path).close()
    body = bytearray(path.read_bytes())
    body[offset : offset + 64] = b"\xa5" * 64
    path.write_bytes(body)
    assert reason(path) == "keys-corrupt"
    assert path.read_bytes() == body


def test_a_truncated_file_is_refused(path: Path) -> None:
    Keys.open(path).close()
    path.write_bytes(path.read_bytes()[:4096])
    assert reason(path) == "keys-corrupt"


def test_a_missing_secret_is_not_made_again(path: Path) -> None:
    Keys.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM secrets WHERE name = 'credential'")
    connection.close()
    assert reason(path) == "keys-corrupt"


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    Keys.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert reason(path) == "keys-newer"


def test_a_transaction_is_whole_or_nothing(path: Path) -> None:
    keys = Keys.open(path)

    def insert(name: str, fail: bool) -> None:
        with keys.transaction() as connection:
            connection.execute(
                "INSERT INTO tokens (id, scope, sha256, bcrypt, pbkdf2, issued_at)"
                " VALUES (?, 'operator', ?, '', '', '')",
                (name, name.encode()),
            )
            if fail:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        insert("a", fail=True)
    insert("b", fail=False)
    with keys.transaction() as connection:
        assert connection.execute("SELECT id FROM tokens").fetchall() == [("b",)]
    keys.close()
