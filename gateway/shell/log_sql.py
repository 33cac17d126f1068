"""Every statement the log uses, and its migrations, in one place."""

from __future__ import annotations

from functools import cache

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "0001-log",
        """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            command_id TEXT NOT NULL,
            ordinal INTEGER NOT NULL,
            type TEXT NOT NULL,
            version INTEGER NOT NULL,
            at TEXT NOT NULL,
            body BLOB NOT NULL,
            prev_hash TEXT NOT NULL,
            hash TEXT NOT NULL,
            UNIQUE (command_id, ordinal)
        ) STRICT;
        CREATE TABLE receipts (
            command_id TEXT PRIMARY KEY,
            body_hash BLOB NOT NULL,
            outcome TEXT NOT NULL,
            reason TEXT,
            first_seq INTEGER,
            last_seq INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE cursors (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE snapshots (seq INTEGER PRIMARY KEY, state BLOB NOT NULL, digest TEXT NOT NULL) STRICT;
        """,
    ),
)

BUSY_MILLISECONDS = 5000
SETTINGS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 0",
    f"busy_timeout = {BUSY_MILLISECONDS}",
)
READER_SETTINGS = ("query_only = 1", "wal_autocheckpoint = 0", f"busy_timeout = {BUSY_MILLISECONDS}")
WANTED = {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 0}

MIGRATIONS_TABLE = (
    "CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL) STRICT"
)
APPLIED = "SELECT name FROM migrations"

MOST_ROWS = 256  # of one statement


@cache
def add_events(rows: int) -> str:
    """Adds so many events at once."""
    columns = "seq, command_id, ordinal, type, version, at, body, prev_hash, hash"
    return f"INSERT INTO events ({columns}) VALUES {','.join(['(?,?,?,?,?,?,?,?,?)'] * rows)}"


@cache
def add_receipts(rows: int) -> str:
    """Adds so many receipts at once."""
    columns = "command_id, body_hash, outcome, reason, first_seq, last_seq"
    return f"INSERT INTO receipts ({columns}) VALUES {','.join(['(?,?,?,?,?,?)'] * rows)}"


GET_RECEIPT = "SELECT body_hash, outcome, reason, last_seq FROM receipts WHERE command_id = ?"
MOVE_CURSOR = (
    "INSERT INTO cursors (name, seq) VALUES (?1, ?2) "
    "ON CONFLICT (name) DO UPDATE SET seq = excluded.seq WHERE excluded.seq > seq"
)
GET_CURSOR = "SELECT seq FROM cursors WHERE name = ?"
ADD_SNAPSHOT = "INSERT OR REPLACE INTO snapshots (seq, state, digest) VALUES (?,?,?)"
DROP_SNAPSHOTS = (
    "DELETE FROM snapshots WHERE seq NOT IN (SELECT seq FROM snapshots ORDER BY seq DESC LIMIT 2)"
)
GET_SNAPSHOT = "SELECT seq, state, digest FROM snapshots ORDER BY seq DESC LIMIT 1"
HEAD = "SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1"
READ = "SELECT seq, type, prev_hash, hash, body FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
ABOUT = (
    "SELECT seq, type, prev_hash, hash, body FROM events WHERE seq > ? AND seq <= ? "
    "AND json_extract(CAST(body AS TEXT), '$.subject') = ? ORDER BY seq"
)
HASH_AT = "SELECT hash FROM events WHERE seq = ?"
GET_META = "SELECT value FROM meta WHERE key = ?"
SET_META = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"
