"""What a read asks of the directory: whose credential is this, and what is planned for that person today."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from gateway.core.model import Appointment, Credential, Finding
from gateway.shell import directory_sql as sql
from gateway.shell.directory_rows import Digests, as_appointment, micros

Day = tuple[datetime, datetime]
_MOVES: Final = 8  # how often an appointment may have been moved to another id


def find(db: Any, digests: Digests, credentials: Sequence[Credential], at: datetime, day: Day) -> Finding:
    """The first credential that names an appointment or has an owner wins; else nobody is found."""
    for credential in credentials:
        named = _named(db, digests, credential, at, day)
        owners = _owners(db, digests, credential) if named is None else _visitors_of(named)
        if named is not None or owners:
            return _finding(credential, owners, named, _with(of_visitors(db, owners, day), named))
    return _finding(credentials[0], (), None, ())


def _named(db: Any, digests: Digests, credential: Credential, at: datetime, day: Day) -> Appointment | None:
    if credential.kind == "appointment":
        row = db.execute(sql.NAMED, (credential.value,)).fetchone()
    elif credential.kind == "booking-code":
        code = digests.credential("booking-code", credential.value)
        row = db.execute(sql.CODED, (code, micros(day[0]), micros(day[1]), micros(at))).fetchone()
    else:
        return None
    return as_appointment(_moved(db, row)) if row else None


def _owners(db: Any, digests: Digests, credential: Credential) -> tuple[str, ...]:
    try:
        digest = digests.credential(credential.kind, credential.value)
    except ValueError:
        return ()  # a UID that is none belongs to nobody
    return tuple(row[0] for row in db.execute(sql.OWNERS, (digest,)))


def _moved(db: Any, row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The appointment that took this one's place, where it was moved to another id."""
    for _ in range(_MOVES):
        next_row = db.execute(sql.NAMED, (row[12],)).fetchone() if row[12] else None
        if next_row is None:
            return row
        row = next_row
    return row


def _visitors_of(appointment: Appointment) -> tuple[str, ...]:
    return (appointment.visitor,) if appointment.visitor else ()


def of_visitors(db: Any, visitors: Sequence[str], day: Day) -> tuple[Appointment, ...]:
    """Their appointments that start on that day, cancelled ones included, by start."""
    if not visitors:
        return ()
    rows = db.execute(sql.OF_VISITORS, (json.dumps(visitors), micros(day[0]), micros(day[1])))
    return tuple(as_appointment(row) for row in rows)


def _with(appointments: tuple[Appointment, ...], named: Appointment | None) -> tuple[Appointment, ...]:
    if named is None or any(each.id == named.id for each in appointments):
        return appointments
    return tuple(sorted((*appointments, named), key=lambda each: each.start))


def _finding(
    credential: Credential,
    owners: tuple[str, ...],
    named: Appointment | None,
    appointments: tuple[Appointment, ...],
) -> Finding:
    return Finding(
        credential_kind=credential.kind,
        proof=credential.proof,
        owners=owners,
        named=named.id if named else None,
        appointments=appointments,
        single_use=credential.single_use,
    )
