"""The SQL of `directory.db`, its migrations included: nothing else in the project knows this schema.

Migrations are recorded by sqlite-utils and run in one transaction each. They expand, never contract: an
older release must be able to open what a newer one has migrated. Times are integer microseconds since 1970
in UTC, which sort and survive; `change` is a counter that grows with every appointment or clerk that changed,
so that the log can be told again after a crash of what it may not have heard.
"""

from __future__ import annotations

from typing import Final

from sqlite_utils import Database, Migrations

MIGRATIONS: Final = Migrations("soglia.directory")


@MIGRATIONS(name="0001_records")
def _records(db: Database) -> None:
    """Every record as it was given (without its credentials), and the columns that look-ups need."""
    db.table("records").create(
        {
            "kind": str,
            "id": str,
            "version": int,
            "deleted": int,
            "digest": bytes,
            "body": str,
            "source": str,
            "at": int,
        },
        pk=("kind", "id"),
        not_null={"version", "deleted", "digest", "at"},
        strict=True,
    )
    db.execute(
        "CREATE TABLE credentials (digest BLOB NOT NULL, visitor TEXT NOT NULL,"
        " PRIMARY KEY (digest, visitor)) STRICT, WITHOUT ROWID"
    )
    db.table("credentials").create_index(["visitor"])
    db.execute(
        "CREATE TABLE names (word TEXT NOT NULL, visitor TEXT NOT NULL,"
        " PRIMARY KEY (word, visitor)) STRICT, WITHOUT ROWID"
    )
    db.table("names").create_index(["visitor"])
    _appointments(db)
    db.table("clerks").create({"id": str, "version": int, "change": int}, pk="id", strict=True)
    db.table("clerks").create_index(["change"])


def _appointments(db: Database) -> None:
    db.table("appointments").create(
        {
            "id": str,
            "version": int,
            "visitor": str,
            "clerk": str,
            "start": int,
            "end": int,
            "status": str,
            "store": str,
            "service": str,
            "party_size": int,
            "language": str,
            "code": bytes,
            "moved_to": str,
            "change": int,
        },
        pk="id",
        not_null={"version", "start", "end", "status", "party_size", "change"},
        strict=True,
    )
    for columns in (["visitor", "start"], ["code"], ["start"], ["change"]):
        db.table("appointments").create_index(columns)


@MIGRATIONS(name="0002_trail")
def _trail(db: Database) -> None:
    """What was refused, who looked at whom, how far the calendars are, and how far the log has been told."""
    db.table("quarantine").create(
        {"seq": int, "source": str, "line": int, "problem": str, "raw": str, "at": int, "mark": bytes},
        pk="seq",
        not_null={"source", "line", "problem", "raw", "at", "mark"},
        strict=True,
    )
    db.table("quarantine").create_index(["mark"], unique=True)
    db.table("audit").create(
        {"seq": int, "at": int, "who": str, "action": str, "whose": str, "why": str},
        pk="seq",
        not_null={"at", "who", "action"},
        strict=True,
    )
    db.table("audit").create_index(["at"])
    db.table("audit").create_index(["whose"])
    db.table("sources").create({"name": str, "state": str, "at": int}, pk="name", strict=True)
    db.table("counters").create({"name": str, "value": int}, pk="name", strict=True)
    db.table("counters").insert_all([{"name": "change", "value": 0}, {"name": "told", "value": 0}])


KNOWN: Final = """
SELECT r.kind, r.id, r.version, r.deleted, r.digest, r.body IS NOT NULL FROM json_each(?) AS wanted
JOIN records AS r ON r.kind = wanted.value ->> 0 AND r.id = wanted.value ->> 1"""

PUT_RECORD: Final = """
INSERT INTO records (kind, id, version, deleted, digest, body, source, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, id) DO UPDATE SET version = excluded.version, deleted = excluded.deleted,
  digest = excluded.digest, body = excluded.body, source = excluded.source, at = excluded.at"""

DROP_CREDENTIALS: Final = "DELETE FROM credentials WHERE visitor = ?"
PUT_CREDENTIAL: Final = "INSERT OR IGNORE INTO credentials (digest, visitor) VALUES (?, ?)"
DROP_NAMES: Final = "DELETE FROM names WHERE visitor = ?"
PUT_NAME: Final = "INSERT OR IGNORE INTO names (word, visitor) VALUES (?, ?)"

APPOINTMENT: Final = (
    'id, version, visitor, clerk, start, "end", status, store, service, party_size, language,'
    " code, moved_to, change"
)
PUT_APPOINTMENT: Final = f"""
INSERT INTO appointments ({APPOINTMENT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, visitor = excluded.visitor, clerk = excluded.clerk,
  start = excluded.start, "end" = excluded."end", status = excluded.status, store = excluded.store,
  service = excluded.service, party_size = excluded.party_size, language = excluded.language,
  code = excluded.code, moved_to = excluded.moved_to, change = excluded.change"""
# A tombstone leaves what the log must still hear, and nothing that leads to the person.
END_APPOINTMENT: Final = """
UPDATE appointments SET version = ?, status = 'cancelled', visitor = NULL, code = NULL, service = NULL,
  language = NULL, moved_to = NULL, change = ? WHERE id = ?"""
PUT_CLERK: Final = """
INSERT INTO clerks (id, version, change) VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, change = excluded.change"""

COUNTER: Final = "SELECT value FROM counters WHERE name = ?"
SET_COUNTER: Final = "UPDATE counters SET value = ? WHERE name = ? AND value < ?"

CHANGED_APPOINTMENTS: Final = f"SELECT {APPOINTMENT} FROM appointments WHERE change > ? ORDER BY change"
CHANGED_CLERKS: Final = """
SELECT c.id, c.version, c.change, r.body FROM clerks AS c
LEFT JOIN records AS r ON r.kind = 'clerk' AND r.id = c.id AND NOT r.deleted
WHERE c.change > ? ORDER BY c.change"""

OWNERS: Final = "SELECT visitor FROM credentials WHERE digest = ? ORDER BY visitor LIMIT 20"
NAMED: Final = f"SELECT {APPOINTMENT} FROM appointments WHERE id = ?"
# The same code on several days: that day's first, then the nearest one.
CODED: Final = f"""
SELECT {APPOINTMENT} FROM appointments WHERE code = ?
ORDER BY NOT (start >= ? AND start < ?), status = 'cancelled', abs(start - ?), id LIMIT 1"""
OF_VISITORS: Final = f"""
SELECT {APPOINTMENT} FROM appointments WHERE visitor IN (SELECT value FROM json_each(?))
AND start >= ? AND start < ? ORDER BY start, id LIMIT 100"""
BETWEEN: Final = f"SELECT {APPOINTMENT} FROM appointments WHERE start >= ? AND start < ? ORDER BY start, id"
LIVE_CLERKS: Final = "SELECT body FROM records WHERE kind = 'clerk' AND NOT deleted ORDER BY id"
BODY: Final = "SELECT body FROM records WHERE kind = ? AND id = ? AND NOT deleted"
COUNTS: Final = "SELECT kind, count(*) FROM records WHERE NOT deleted GROUP BY kind"
# Every word of the query begins a word of the name. The first one drives (CROSS JOIN holds the planner to
# that, so rows come in order without a sort), the others filter.
BY_NAME: Final = """
SELECT n.visitor, r.body FROM names AS n
CROSS JOIN records AS r ON r.kind = 'visitor' AND r.id = n.visitor AND NOT r.deleted
WHERE n.word >= ? AND n.word < ? AND NOT EXISTS (
  SELECT 1 FROM json_each(?) AS wanted WHERE NOT EXISTS (
    SELECT 1 FROM names AS m WHERE m.visitor = n.visitor
    AND m.word >= wanted.value AND m.word < wanted.value || char(1114111)))
ORDER BY n.word, n.visitor"""

QUARANTINE: Final = """
INSERT OR IGNORE INTO quarantine (source, line, problem, raw, at, mark) VALUES (?, ?, ?, ?, ?, ?)"""
CAP_QUARANTINE: Final = "DELETE FROM quarantine WHERE seq <= (SELECT max(seq) FROM quarantine) - ?"
QUARANTINED: Final = "SELECT seq, source, line, problem, raw, at FROM quarantine ORDER BY seq DESC LIMIT ?"
QUARANTINE_COUNT: Final = "SELECT count(*) FROM quarantine"
FORGET_QUARANTINE: Final = "DELETE FROM quarantine WHERE at < ?"
QUARANTINE_OF: Final = "DELETE FROM quarantine WHERE instr(raw, ?) > 0"

AUDIT: Final = "INSERT INTO audit (at, who, action, whose, why) VALUES (?, ?, ?, ?, ?)"
AUDITED: Final = """
SELECT at, who, action, whose, why FROM audit WHERE (?1 IS NULL OR whose = ?1) ORDER BY seq DESC LIMIT ?2"""
FORGET_AUDIT: Final = "DELETE FROM audit WHERE at < ?"

SOURCE: Final = "SELECT state FROM sources WHERE name = ?"
PUT_SOURCE: Final = """
INSERT INTO sources (name, state, at) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET state = excluded.state, at = excluded.at"""

ERASE_RECORD: Final = """
UPDATE records SET deleted = 1, body = NULL, digest = x'', at = ? WHERE kind = 'visitor' AND id = ?"""
VISITOR_APPOINTMENTS: Final = "SELECT id FROM appointments WHERE visitor = ?"
APPOINTMENT_BODY: Final = "UPDATE records SET body = ? WHERE kind = 'appointment' AND id = ?"
UNLINK: Final = "UPDATE appointments SET visitor = NULL, code = NULL WHERE visitor = ?"
# Profiles of nobody who is expected in the interval: the body goes, the hashes stay.
FORGET_PROFILES: Final = """
UPDATE records SET body = NULL WHERE kind = 'visitor' AND NOT deleted AND body IS NOT NULL AND at < ?
AND id NOT IN (SELECT visitor FROM appointments WHERE visitor IS NOT NULL AND start >= ? AND start < ?)"""
FORGET_NAMES: Final = """
DELETE FROM names WHERE visitor IN (
  SELECT id FROM records WHERE kind = 'visitor' AND body IS NULL)"""
