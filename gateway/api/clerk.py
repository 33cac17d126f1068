"""The clerk's routes: who is here, who is expected, and what she does about it."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from gateway.api.answers import answer, json_answer, problems
from gateway.api.auth import Caller, Gateway, Running, allow
from gateway.api.dossier import open_dossier
from gateway.api.limits import PARSED
from gateway.api.live import outcome
from gateway.api.problems import Problem
from gateway.api.schemas import (
    AgendaBody,
    ArrivalBody,
    ArrivalReceiptBody,
    CommandBody,
    DossierBody,
    ReceiptBody,
    StatusBody,
    VisitBody,
    VisitorsBody,
    VisitsBody,
)
from gateway.api.services import Services
from gateway.api.visits import agenda, person_name, store_day, visit_entries, visit_entry
from gateway.core.codec import canonical
from gateway.core.commands import ClerkAction, ReceiveVisitor, SetDuty
from gateway.core.model import Finding
from gateway.core.state import Visit

FOUND_LIMIT = 10

router = APIRouter(prefix="/api/v1", tags=["Clerk"])

Clerk = Annotated[Caller, Depends(allow("clerk"))]
ClerkOrOperator = Annotated[Caller, Depends(allow("clerk", "operator"))]
VisitId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]


@router.get("/visits", response_model=VisitsBody, responses=problems(403, 422))
async def get_visits(
    services: Gateway,
    live: Running,
    caller: ClerkOrOperator,
    only_open: Annotated[bool, Query(alias="open", description="Only those not closed")] = False,
) -> Response:
    """The visits, oldest first; closed ones for as long as the gateway remembers them."""
    return json_answer(await live.blocking(visit_entries, services, caller, only_open))


@router.get("/visits/{visit}", response_model=VisitBody, responses=problems(403, 404, 422))
async def get_visit(visit: VisitId, services: Gateway, live: Running, caller: ClerkOrOperator) -> Response:
    """One visit."""
    return json_answer(await live.blocking(visit_entry, services, find_visit(services, visit), caller))


@router.post(
    "/visits",
    status_code=201,
    response_model=ArrivalReceiptBody,
    responses=problems(400, 403, 404, 409, 413, 422, 503),
)
async def post_visit(
    body: ArrivalBody, request: Request, services: Gateway, live: Running, caller: Clerk
) -> Response:
    """Somebody came without any read: by the name search, or a walk-in nobody knows."""
    command = ReceiveVisitor(
        id=command_id(caller, body.id),
        at=services.now(),
        clerk=caller.name,
        zone=_zone(services, body.zone, caller.name),
        finding=await live.blocking(_finding, services, body.visitor) if body.visitor else None,
    )
    receipt = await outcome(services.engine.submit(command, said(request)))
    visit = await live.blocking(_visit_at, services, receipt.seq) if receipt.seq else None
    headers = {"location": f"/api/v1/visits/{visit}"} if visit else {}
    return answer(
        receipt,
        named={"command": body.id},
        accepted=201,
        more={"visit": visit} if visit else {},
        headers=headers,
    )


@router.post(
    "/visits/{visit}/commands",
    response_model=ReceiptBody,
    responses=problems(400, 403, 404, 409, 413, 422, 503),
)
async def post_command(
    visit: VisitId, body: CommandBody, request: Request, services: Gateway, caller: Clerk
) -> Response:
    """Answer an alert, or move a visit on. 409 when that is not possible now, also when a colleague has it."""
    if body.visit not in (None, visit):
        raise Problem(422, "malformed", "visit: not the visit of the path")
    command = ClerkAction(
        id=command_id(caller, body.id),
        at=services.now(),
        clerk=caller.name,
        visit=visit,
        action=body.action,
        alert=body.alert,
        outcome=body.outcome,
        to=body.to,
        reason=body.reason,
    )
    receipt = await outcome(services.engine.submit(command, said(request, visit=visit)))
    return answer(receipt, named={"command": body.id})


@router.get("/visits/{visit}/dossier", response_model=DossierBody, responses=problems(403, 404, 422))
async def get_dossier(visit: VisitId, services: Gateway, live: Running, caller: Clerk) -> Response:
    """What the clerk may know of the visitor. Audited before it is shown; 403 `confirmation-required` before."""
    return json_answer(await live.blocking(open_dossier, services, find_visit(services, visit), caller.name))


@router.get("/agenda", response_model=AgendaBody, responses=problems(403))
async def get_agenda(services: Gateway, live: Running, caller: Clerk) -> Response:
    """Today's appointments, in the store's time zone."""
    return json_answer(await live.blocking(agenda, services))


@router.get("/visitors", response_model=VisitorsBody, responses=problems(403, 422))
async def get_visitors(
    services: Gateway,
    live: Running,
    caller: Clerk,
    name: Annotated[str, Query(min_length=2, max_length=80, description="Beginnings of the names' words")],
) -> Response:
    """Search by name. Everyone found is audited before being shown."""
    return json_answer(await live.blocking(find_visitors, services, caller, name))


@router.put("/clerks/me/status", response_model=ReceiptBody, responses=problems(400, 403, 409, 413, 422, 503))
async def put_status(body: StatusBody, request: Request, services: Gateway, caller: Clerk) -> Response:
    """Available, paused or off shift; it holds until the roster's next change."""
    name = body.id or uuid.uuid4().hex
    command = SetDuty(id=command_id(caller, name), at=services.now(), clerk=caller.name, duty=body.status)
    receipt = await outcome(services.engine.submit(command, said(request)))
    return answer(receipt, named={"command": name})


def command_id(caller: Caller, name: str) -> str:
    """The engine's id for a clerk's command: nobody can repeat another's."""
    return f"cmd:{caller.name}:{name}"


def said(request: Request, **also: str) -> bytes:
    """What the caller said, without its id: the same bytes as for the same command on MQTT."""
    body: dict[str, Any] = {**request.scope[PARSED], **also}
    body.pop("id", None)
    return canonical(body)


def find_visit(services: Services, name: str) -> Visit:
    """The visit.

    Raises:
        Problem: 404 `unknown-visit`.
    """
    visit = services.engine.state.visits.get(name)
    if visit is None:
        raise Problem(404, "unknown-visit", "There is no such visit, or it was too long ago.")
    return visit


def find_visitors(services: Services, caller: Caller, name: str) -> dict[str, Any]:
    """`{"visitors"}` whose name matches; audited first. Reads and writes the directory: call it in a thread."""
    found = services.directory.search_visitors(name, FOUND_LIMIT)
    for one in found or [{"visitor": None}]:
        services.directory.audit(
            who=caller.scope, action="search", whose=one["visitor"], why="name-search", at=services.now()
        )
    return {
        "visitors": [
            {
                "visitor": one["visitor"],
                "name": person_name(one, whole=True),
                "language": one.get("language"),
            }
            for one in found
        ]
    }


def _zone(services: Services, wanted: str | None, clerk: str) -> str:
    if wanted is not None:
        if wanted not in services.zones:
            raise Problem(422, "malformed", f"zone: one of {', '.join(services.zones)}")
        return wanted
    duty = services.engine.state.clerks.get(clerk)
    if duty is not None and duty.clerk.zone is not None:
        return duty.clerk.zone
    return next(iter(services.zones), "store")


def _finding(services: Services, visitor: str) -> Finding:
    _, start, end = store_day(services)
    finding = services.directory.find_visitor(visitor, (start, end))
    if not finding.owners:
        raise Problem(404, "unknown-visitor", "There is no such visitor: search by name, or open a walk-in.")
    return finding


def _visit_at(services: Services, seq: int) -> str | None:
    """The visit that the command's last event is about."""
    visit = getattr(services.log.read(seq - 1, 1)[0].event, "visit", None)
    return visit if isinstance(visit, str) else None
