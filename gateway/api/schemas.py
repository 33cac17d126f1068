"""What goes over HTTP, as models: they check what comes in, and make the OpenAPI document say what goes out."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from gateway.core.model import Technology

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Action = Literal["delivered", "coming", "greeted", "serving", "done", "pass", "not_here", "refuse", "undo"]


class Open(BaseModel):
    """Fields we do not know are kept."""

    model_config = ConfigDict(extra="allow")


# -- in


class ReadData(Open):
    """By technology: qr `payload`, `symbology`?; nfc `uid`, `ndef`?; ble `address`, `rssi`, `advertisement`; rfid
    `epc`, `antenna`?, `rssi`?."""

    technology: Technology


class ReadEvent(Open):
    """A read as on MQTT: CloudEvents 1.0, structured JSON."""

    specversion: Literal["1.0"]
    id: Id = Field(description="Minted by the reader; the read's identity")
    source: str = Field(description="`soglia/{store}/readers/{reader}`")
    type: Literal["soglia.read.v1"]
    time: AwareDatetime | None = Field(None, description="The reader's clock: evidence, not truth")
    data: ReadData


class CommandBody(Open):
    """A clerk's command on a visit: the MQTT command's `data`, plus its `id`."""

    id: Id = Field(description="Minted by the tablet; a repeat is answered with the first receipt")
    action: Action
    visit: Id | None = Field(None, description="May be given, and is then the one in the path")
    alert: Id | None = None
    outcome: Words | None = Field(None, description="`done`: how it went; only a slug enters the log")
    to: Id | None = Field(None, description="`pass`: the colleague")
    reason: Words | None = Field(None, description="Why; only a slug enters the log, free text never does")


class ArrivalBody(Open):
    """Somebody came without any read."""

    id: Id
    visitor: Id | None = Field(None, description="From the name search; none for a walk-in nobody knows")
    zone: Id | None = Field(None, description="Where; by default the clerk's own zone")


def _hyphened(said: object) -> object:
    """The contract writes `off shift`; a tablet may write it with a space, an underscore or a hyphen."""
    return re.sub(r"[ _]", "-", said) if isinstance(said, str) else said


class StatusBody(Open):
    """Whether the clerk may be alerted."""

    status: Annotated[Literal["available", "paused", "off-shift"], BeforeValidator(_hyphened)]
    id: Id | None = Field(None, description="The command's identity; minted by the gateway when absent")


class AckBody(Open):
    """Everything up to this cursor is safe with the platform."""

    cursor: Annotated[str, StringConstraints(min_length=1, max_length=512)]


# -- out


class ProblemBody(Open):
    """RFC 9457. A refused command has its receipt's members as well."""

    type: str = Field(examples=["urn:soglia:problem:visit-closed"])
    title: str
    status: int
    detail: str
    reason: str


class FirstBody(BaseModel):
    """What the first submission was told."""

    outcome: Literal["accepted", "refused"]
    reason: str | None = None


class ReceiptBody(Open):
    """The answer to a command; it exists only after the commit."""

    command: str
    outcome: Literal["accepted", "refused", "repeated"]
    reason: str | None = None
    seq: int | None = None
    first: FirstBody | None = None


class ArrivalReceiptBody(ReceiptBody):
    """The receipt of an arrival, with the visit it opened or joined."""

    visit: str | None = None


class ReadReceiptBody(Open):
    """The answer to a read."""

    read: str
    outcome: Literal["accepted", "refused", "repeated"]
    reason: str | None = None
    seq: int | None = None
    first: FirstBody | None = None


class AssignmentBody(BaseModel):
    """Whose visit: `clerk` is who the appointment is with, `taken_by` who has said "coming"."""

    clerk: str | None = None
    clerk_name: str | None = None
    taken_by: str | None = None
    taken_by_name: str | None = None


class AlertBody(BaseModel):
    """An open alert for the caller: to her, or to the floor (`to` null)."""

    alert: str
    level: str
    to: str | None
    attempt: int


class VisitBody(Open):
    """A visit as it stands. Names only for clerks, and only the given name until the dossier opens."""

    visit: str
    state: str
    match: str
    reasons: list[str]
    why: str = Field(description="The reasons in one plain line")
    assignment: AssignmentBody
    seq: int
    name: str | None
    service: str | None
    appointment_start: datetime | None
    appointment_end: datetime | None
    zone: str
    zone_name: str
    flags: list[str]
    language: str | None
    party_size: int
    level: str | None
    opened_at: datetime
    greeted_at: datetime | None
    closed_at: datetime | None
    outcome: str | None
    alerts: list[AlertBody]
    dossier: str = Field(description="`open`, or the reason why it is not yet")


class VisitsBody(BaseModel):
    """The visits, and where the log stood."""

    visits: list[VisitBody]
    seq: int = Field(description="The log's head when this was read: follow the stream from here")


class PlannedBody(Open):
    """An appointment of today."""

    appointment: str
    start: datetime | str
    end: datetime | str
    clerk: str | None
    clerk_name: str | None
    visitor: str | None
    name: str | None
    service: str | None
    language: str | None
    status: str
    visit: str | None = Field(description="The visit it became, once the visitor is here")


class AgendaBody(BaseModel):
    """Today's appointments; `day` is the store's date."""

    day: str
    appointments: list[PlannedBody]


class FoundBody(BaseModel):
    """A visitor whom the name search found."""

    visitor: str
    name: str
    language: str | None


class VisitorsBody(BaseModel):
    """What the name search found."""

    visitors: list[FoundBody]


class DossierBody(Open):
    """What the clerk may know of the visitor. Never a credential."""

    visit: str
    visitor: dict[str, Any] | None
    appointment: dict[str, Any] | None
    history: Literal["shown", "no-consent", "none"]
    touchpoints: list[dict[str, Any]]


class DirectoryAnswer(Open):
    """How many records were taken, were there already, were too old, or could not be read."""

    accepted: int
    unchanged: int
    stale: int
    quarantined: list[dict[str, Any]]


class BatchBody(Open):
    """A contiguous range of the log, signed. `events` are the stored bytes."""

    store: str
    epoch: str
    first_seq: int
    last_seq: int
    prev_hash: str
    hash: str
    count: int
    events: list[dict[str, Any]]
    next: str
    high_water: int
    signature: str
    key_id: str


class AcknowledgedBody(BaseModel):
    """Up to where the platform has everything."""

    acknowledged_seq: int


class KeyBody(Open):
    """A public key that batches are signed with."""

    key_id: str
    algorithm: str
    public_key: str


class KeysBody(Open):
    """The keys that batches were ever signed with."""

    keys: list[KeyBody]


class AliveBody(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class ReadyBody(BaseModel):
    """`checks` only for an operator."""

    ready: bool
    checks: dict[str, str] | None = None
