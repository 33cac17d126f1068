"""How records enter the directory: lines are checked, then written in batches of one transaction each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final

from gateway.core.model import Clerk
from gateway.shell import directory_sql as sql
from gateway.shell.directory_connections import Connections
from gateway.shell.directory_rows import (
    Change,
    Digests,
    Known,
    Plan,
    Prepared,
    appointment_row,
    as_appointment,
    as_clerk,
    micros,
    name_words,
    plan,
    prepare,
)
from gateway.shell.records import (
    AppointmentRecord,
    ClerkRecord,
    TombstoneRecord,
    VisitorRecord,
    parse_line,
    parse_mapping,
)
from gateway.shell.strict_json import Problem

LINES_PER_TRANSACTION: Final = 1_000
QUARANTINE_ROWS: Final = 10_000
QUARANTINE_RAW: Final = 4_096


@dataclass(slots=True)
class PutResult:
    """What became of the lines: the contract's answer, and the changes the log must hear of."""

    accepted: int = 0
    unchanged: int = 0
    stale: int = 0
    quarantined: list[tuple[int, str]] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)

    def answer(self) -> dict[str, Any]:
        """As the contract writes it."""
        return {
            "accepted": self.accepted,
            "unchanged": self.unchanged,
            "stale": self.stale,
            "quarantined": [{"line": line, "problem": problem} for line, problem in self.quarantined],
        }


@dataclass(frozen=True, slots=True)
class Bad:
    """A line that cannot be accepted, why, and its beginning."""

    line: int
    problem: str
    raw: str

    @classmethod
    def of(cls, line: int, problem: str, raw: bytes) -> Bad:
        """With as much of `raw` as the quarantine keeps, as text."""
        text = raw[:QUARANTINE_RAW].decode("utf-8", errors="backslashreplace")
        return cls(line, problem, text.replace("\0", "\\0"))

    def mark(self, source: str) -> bytes:
        """The same for the same line of a repeated request, so that it is set aside once."""
        text = f"{source}\0{self.line}\0{self.problem}\0{self.raw}"
        return hashlib.sha256(text.encode()).digest()[:16]


Item = Prepared | Bad | None


def parsed(lines: Iterable[bytes], digests: Digests) -> Iterator[Item]:
    """Each line, from 1, as a record or as what is wrong with it; None for a blank one."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            yield None
            continue
        try:
            yield prepare(number, *parse_line(line), digests)
        except Problem as problem:
            yield Bad.of(number, str(problem), line)


def checked(records: Iterable[Mapping[str, Any]], digests: Digests) -> Iterator[Item]:
    """The same for records that an adapter made."""
    for number, record in enumerate(records, 1):
        try:
            yield prepare(number, *parse_mapping(record), digests)
        except Problem as problem:
            yield Bad.of(number, str(problem), repr(record).encode(errors="replace"))


def take(connections: Connections, items: Iterator[Item], source: str, at: datetime) -> PutResult:
    """Write the items, 1,000 lines a transaction, and sum up what became of them.

    Raises:
        LogError: our disk failed. The batches before have landed; repeating is safe.
        PeerError: another process keeps the file (`directory-busy`).
    """
    result = PutResult()
    # A batch is parsed before the writer's turn is taken: others wait for the disk only.
    while batch := list(islice(items, LINES_PER_TRANSACTION)):
        good = [item for item in batch if isinstance(item, Prepared)]
        bad = [item for item in batch if isinstance(item, Bad)]
        if good or bad:
            _take_batch(connections, good, bad, source, at, result)
    return result


def _take_batch(
    connections: Connections,
    good: list[Prepared],
    bad: list[Bad],
    source: str,
    at: datetime,
    result: PutResult,
) -> None:
    with connections.writing() as db:
        known = _known(db, good)
        planned = plan(known, good)
        changed = _write(db, planned, known, source, at)
        set_aside(db, source, bad, at)
    result.accepted += planned.accepted
    result.unchanged += planned.unchanged
    result.stale += planned.stale
    result.quarantined.extend((item.line, item.problem) for item in bad)
    result.changed.extend(changed)


def set_aside(db: Any, source: str, bad: Iterable[Bad], at: datetime) -> None:
    """Put lines into the quarantine; the oldest beyond 10,000 go."""
    rows = [(source, b.line, b.problem, b.raw, micros(at), b.mark(source)) for b in bad]
    if rows:
        db.executemany(sql.QUARANTINE, rows)
        db.execute(sql.CAP_QUARANTINE, (QUARANTINE_ROWS,))


def _known(db: Any, batch: list[Prepared]) -> dict[tuple[str, str], Known]:
    keys = json.dumps([each.key for each in batch])
    return {
        (kind, id_): Known(version, bool(deleted), digest, bool(has_body))
        for kind, id_, version, deleted, digest, has_body in db.execute(sql.KNOWN, (keys,))
    }


def _write(
    db: Any, planned: Plan, known: Mapping[tuple[str, str], Known], source: str, at: datetime
) -> list[Change]:
    winners = list(planned.winners.values())
    db.executemany(
        sql.PUT_RECORD,
        [
            (
                *w.key,
                w.record.version,
                isinstance(w.record, TombstoneRecord),
                w.digest,
                w.body,
                source,
                micros(at),
            )
            for w in winners
        ],
    )
    _write_visitors(db, [w for w in winners if w.record.kind == "visitor"], known)
    return _write_changes(db, [w for w in winners if w.record.kind in ("appointment", "clerk")])


def _write_visitors(db: Any, winners: list[Prepared], known: Mapping[tuple[str, str], Known]) -> None:
    there = [(w.record.id,) for w in winners if w.key in known]
    db.executemany(sql.DROP_CREDENTIALS, there)
    db.executemany(sql.DROP_NAMES, there)
    db.executemany(sql.PUT_CREDENTIAL, [(digest, w.record.id) for w in winners for digest in w.credentials])
    db.executemany(
        sql.PUT_NAME,
        [
            (word, w.record.id)
            for w in winners
            if isinstance(w.record, VisitorRecord)
            for word in name_words(w.record.given_name, w.record.family_name)
        ],
    )


def _write_changes(db: Any, winners: list[Prepared]) -> list[Change]:
    if not winners:
        return []
    last = int(db.execute(sql.COUNTER, ("change",)).fetchone()[0])
    found = [change for seq, w in enumerate(winners, last + 1) if (change := _write_change(db, w, seq))]
    db.execute(sql.SET_COUNTER, (last + len(winners), "change", last + len(winners)))
    return found


def _write_change(db: Any, each: Prepared, seq: int) -> Change | None:
    record = each.record
    if isinstance(record, AppointmentRecord):
        row = appointment_row(record, each.credentials[0] if each.credentials else None, seq)
        db.execute(sql.PUT_APPOINTMENT, row)
        return Change(seq, as_appointment(row))
    if record.kind == "appointment":
        db.execute(sql.END_APPOINTMENT, (record.version, seq, record.id))
        row = db.execute(sql.NAMED, (record.id,)).fetchone()
        return Change(seq, as_appointment(row)) if row else None
    db.execute(sql.PUT_CLERK, (record.id, record.version, seq))
    if isinstance(record, ClerkRecord):
        return Change(seq, as_clerk(record))
    return Change(seq, Clerk(id=record.id, version=record.version), removed=True)
