"""The directory's schema: recorded migrations, one transaction each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlite_utils import Database

from gateway.core.errors import LogError
from gateway.shell import directory_connections
from gateway.shell.directory import Directory
from gateway.shell.directory_sql import MIGRATIONS

KEY = b"k" * 32


def applied(path: Path) -> list[str]:
    with Database(path) as database:
        return [each.name for each in MIGRATIONS.applied(database)]


def test_an_older_file_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    with Database(path) as database:
        MIGRATIONS.apply(database, stop_before="0002_trail")
        row = {"kind": "clerk", "id": "marco", "version": 1, "deleted": 0, "digest": b"", "at": 0}
        database.table("records").insert({**row, "body": '{"id":"marco","kind":"clerk","version":1}'})
    assert applied(path) == ["0001_records"]
    directory = Directory.open(path, KEY, "milano-01")
    try:
        assert [clerk.id for clerk in directory.clerks()] == ["marco"]
        directory.audit("clerk:marco", "dossier", None, None, datetime(2026, 11, 22, tzinfo=UTC))
    finally:
        directory.close()
    assert applied(path) == ["0001_records", "0002_trail"]


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "directory.db"
    Directory.open(path, KEY, "milano-01").close()
    broken = type(MIGRATIONS)(MIGRATIONS.name)

    @broken(name="0003_half")
    def _half(db: Database) -> None:
        db.table("half").create({"id": int})
        db.execute("INSERT INTO nowhere VALUES (1)")

    with monkeypatch.context() as patch:
        patch.setattr(directory_connections, "MIGRATIONS", broken)
        with pytest.raises(LogError, match="directory-failed"):
            Directory.open(path, KEY, "milano-01")
    with Database(path) as database:
        assert "half" not in database.table_names()
    Directory.open(path, KEY, "milano-01").close()
