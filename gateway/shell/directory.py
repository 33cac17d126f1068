"""The directory: who is expected, by whom, and which credential is whose (`directory.db`).

It holds what the platform and the calendars hand down. Credentials are kept as keyed digests only. It is
written first, then the log is told by an idempotent command; `changes_since(told())` gives, after a crash,
what the log may not have heard.

    do      call `find` from any thread: it reads by that thread's own connection and never waits for a writer
    do      `mark_told(change.seq)` once the log has committed the command of that change
    don't   put more than a few hundred lines from the daemon: `importer.py` does it in a child process
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from gateway.core.model import Appointment, Clerk, Credential, Finding, Proof
from gateway.shell import directory_lookup as lookup
from gateway.shell import directory_sql as sql
from gateway.shell.directory_connections import Connections
from gateway.shell.directory_intake import Bad, PutResult, checked, parsed, set_aside, take
from gateway.shell.directory_lookup import Day
from gateway.shell.directory_rows import Change, Digests, as_appointment, as_clerk, micros, moment, name_words
from gateway.shell.records import ClerkRecord, check

__all__ = ["AuditRow", "Change", "Day", "Directory", "PutResult", "QuarantineRow"]

_LAST: Final = chr(0x10FFFF)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Who did what to whose record, and why."""

    at: datetime
    who: str
    action: str
    whose: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class QuarantineRow:
    """A line that was not accepted, beginning with its first bytes."""

    source: str
    line: int
    problem: str
    raw: str
    at: datetime


class Directory:
    """`directory.db`, opened. All methods may be called from any thread.

    All raise `LogError` when our disk fails, and those that write `PeerError` (`directory-busy`) when another
    process keeps the file.
    """

    def __init__(self, connections: Connections, digests: Digests, store: str) -> None:
        self._connections = connections
        self._digests = digests
        self.store = store

    @classmethod
    def open(cls, path: Path, credential_key: bytes, store: str, bulk: bool = False) -> Directory:
        """Open or create the file and migrate it. `credential_key` has at least 16 bytes; `bulk` takes more
        memory to write faster.

        Raises:
            LogError: the file cannot be opened or is no database.
        """
        digests = Digests(credential_key)
        return cls(Connections(path, bulk), digests, store)

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()

    # What comes in

    def put(self, lines: Iterable[bytes], source: str, at: datetime) -> PutResult:
        """Take NDJSON records: one transaction per 1,000 lines; a bad line is quarantined, the rest lands.

        Lines count from 1; blank ones are counted and skipped. Repeating the call changes nothing.
        """
        return take(self._connections, parsed(lines, self._digests), source, at)

    def put_records(self, records: Iterable[Mapping[str, Any]], source: str, at: datetime) -> PutResult:
        """The same for records that an adapter made."""
        return take(self._connections, checked(records, self._digests), source, at)

    # What a read asks

    def find(self, credentials: Sequence[Credential], at: datetime, day: Day) -> Finding:
        """What the directory knows of a read's credentials, in their order: the first that is known wins.

        `day` is the store's day, start included, end not. An appointment that was moved to another id is
        followed there.

        Raises:
            ValueError: no credential is given.
        """
        if not credentials:
            raise ValueError("a read without any credential cannot be looked up")
        with self._connections.reading() as db:
            return lookup.find(db, self._digests, credentials, at, day)

    def find_visitor(self, visitor: str, day: Day) -> Finding:
        """The same for a person whom a clerk has recognised. An unknown id has no owners."""
        with self._connections.reading() as db:
            there = db.execute(sql.BODY, ("visitor", visitor)).fetchone() is not None
            appointments = lookup.of_visitors(db, (visitor,), day)
        owners = (visitor,) if there or appointments else ()
        return Finding("visitor", Proof.HELD, owners=owners, appointments=appointments)

    # What the API asks

    def body(self, kind: str, id: str) -> dict[str, Any] | None:  # noqa: A002 - the contract's word
        """A live record as it was given, unknown fields included, credentials as digests; else None."""
        with self._connections.reading() as db:
            row = db.execute(sql.BODY, (kind, id)).fetchone()
        return json.loads(row[0]) if row and row[0] is not None else None

    def clerks(self) -> list[Clerk]:
        """Everyone on the roster."""
        with self._connections.reading() as db:
            return [_clerk(body) for (body,) in db.execute(sql.LIVE_CLERKS)]

    def appointments(self, start: datetime, end: datetime) -> list[Appointment]:
        """Those that start in the interval, cancelled ones included, by start."""
        with self._connections.reading() as db:
            return [as_appointment(row) for row in db.execute(sql.BETWEEN, (micros(start), micros(end)))]

    def agenda(self, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """The same as bodies, live ones only, as they were given."""
        found = (self.body("appointment", each.id) for each in self.appointments(start, end))
        return [body for body in found if body is not None]

    def search_visitors(self, name: str, limit: int = 20) -> list[dict[str, Any]]:
        """Visitors a word of whose name begins with each word of `name`, whatever its case and accents.

        Each: `visitor`, `given_name`, `family_name`, `language`. A search without a letter finds nobody.
        """
        words = sorted(name_words(name), key=len, reverse=True)
        if not words:
            return []
        with self._connections.reading() as db:
            found: dict[str, str | None] = {}  # two words of one name may match
            for visitor, body in db.execute(sql.BY_NAME, (words[0], words[0] + _LAST, json.dumps(words))):
                found[visitor] = body
                if len(found) >= limit:
                    break
        return [_shown(visitor, json.loads(body) if body else {}) for visitor, body in found.items()]

    def counts(self) -> dict[str, int]:
        """Live records by kind."""
        with self._connections.reading() as db:
            return dict(db.execute(sql.COUNTS).fetchall())

    # What the log must hear

    def changes_since(self, seq: int) -> list[Change]:
        """Every appointment and clerk that changed after `seq`, each once, as it is now, in that order."""
        with self._connections.reading() as db:
            found = [
                Change(row[-1], as_appointment(row)) for row in db.execute(sql.CHANGED_APPOINTMENTS, (seq,))
            ]
            for id_, version, change, body in db.execute(sql.CHANGED_CLERKS, (seq,)):
                clerk = _clerk(body) if body else Clerk(id=id_, version=version)
                found.append(Change(change, clerk, removed=body is None))
        return sorted(found, key=lambda change: change.seq)

    def told(self) -> int:
        """How far the log has been told."""
        with self._connections.reading() as db:
            return int(db.execute(sql.COUNTER, ("told",)).fetchone()[0])

    def mark_told(self, seq: int) -> None:
        """The log has committed every change up to `seq`; never goes back."""
        with self._connections.writing() as db:
            db.execute(sql.SET_COUNTER, (seq, "told", seq))

    # The trail

    def audit(self, who: str, action: str, whose: str | None, why: str | None, at: datetime) -> None:
        """Write down, durably, who did what to whose record. Ids only, never a name."""
        with self._connections.writing() as db:
            db.execute(sql.AUDIT, (micros(at), who, action, whose, why))

    def audit_rows(self, whose: str | None = None, limit: int = 100) -> list[AuditRow]:
        """The last ones first."""
        with self._connections.reading() as db:
            rows = db.execute(sql.AUDITED, (whose, limit)).fetchall()
        return [AuditRow(moment(at), *rest) for at, *rest in rows]

    def quarantine(self, source: str, line: int, problem: str, raw: bytes, at: datetime) -> None:
        """Set aside what could not be accepted; the oldest beyond 10,000 go."""
        with self._connections.writing() as db:
            set_aside(db, source, [Bad.of(line, problem, raw)], at)

    def quarantined(self, limit: int = 100) -> list[QuarantineRow]:
        """The last ones first."""
        with self._connections.reading() as db:
            rows = db.execute(sql.QUARANTINED, (limit,)).fetchall()
        return [
            QuarantineRow(source, line, problem, raw, moment(at))
            for _, source, line, problem, raw, at in rows
        ]

    def quarantine_count(self) -> int:
        """How many lines are set aside."""
        with self._connections.reading() as db:
            return int(db.execute(sql.QUARANTINE_COUNT).fetchone()[0])

    def source_state(self, name: str) -> dict[str, Any]:
        """What was kept of a source (its ETag, its appointments' versions); empty at first."""
        with self._connections.reading() as db:
            row = db.execute(sql.SOURCE, (name,)).fetchone()
        return json.loads(row[0]) if row else {}

    def keep_source_state(self, name: str, state: Mapping[str, Any], at: datetime) -> None:
        """Keep it, durably."""
        with self._connections.writing() as db:
            db.execute(sql.PUT_SOURCE, (name, json.dumps(state, ensure_ascii=False), micros(at)))

    # Retention and erasure

    def erase(self, visitor: str, at: datetime) -> bool:
        """Delete a person: profile, credentials, names, quarantined lines, and the link from appointments.

        Versions up to the present one stay stale for ever. What was erased is gone from the write-ahead log
        too. Returns whether there was anything.
        """
        with self._connections.writing() as db:
            touched = db.execute(sql.ERASE_RECORD, (micros(at), visitor)).rowcount
            touched += db.execute(sql.DROP_CREDENTIALS, (visitor,)).rowcount
            db.execute(sql.DROP_NAMES, (visitor,))
            for (id_,) in db.execute(sql.VISITOR_APPOINTMENTS, (visitor,)).fetchall():
                row = db.execute(sql.BODY, ("appointment", id_)).fetchone()
                if row and row[0]:
                    db.execute(sql.APPOINTMENT_BODY, (_unlinked(row[0]), id_))
            touched += db.execute(sql.UNLINK, (visitor,)).rowcount
            touched += db.execute(sql.QUARANTINE_OF, (visitor,)).rowcount
        self._connections.truncate_wal()
        return bool(touched > 0)

    def forget_profiles(self, before: datetime, keep: Day) -> int:
        """Drop the bodies put before `before` of all visitors without an appointment in `keep`; hashes stay.

        Putting such a record again, even with the same version, brings it back. Returns how many were.
        """
        with self._connections.writing() as db:
            dropped = db.execute(
                sql.FORGET_PROFILES, (micros(before), micros(keep[0]), micros(keep[1]))
            ).rowcount
            db.execute(sql.FORGET_NAMES)
        return int(dropped)

    def forget_trail(self, audit_before: datetime, quarantine_before: datetime) -> None:
        """Drop audit rows and quarantined lines that are older."""
        with self._connections.writing() as db:
            db.execute(sql.FORGET_AUDIT, (micros(audit_before),))
            db.execute(sql.FORGET_QUARANTINE, (micros(quarantine_before),))


def _clerk(body: str) -> Clerk:
    record = check(json.loads(body))
    assert isinstance(record, ClerkRecord)
    return as_clerk(record)


def _shown(visitor: str, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"visitor": visitor, **{key: body.get(key) for key in ("given_name", "family_name", "language")}}


def _unlinked(body: str) -> str:
    kept = json.loads(body)
    return json.dumps(
        {key: value for key, value in kept.items() if key not in ("visitor", "code_digest", "notes")}
    )
