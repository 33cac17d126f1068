"""The pages: the clerk's, where she signs in, and the API's documentation. No script, style or font comes from
anywhere but here, so they work without internet."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from gateway.api.auth import Caller, Gateway, Running, check_origin, identify, set_cookie, verify
from gateway.api.clerk import VisitId, find_visit
from gateway.api.dossier import open_dossier
from gateway.api.problems import Problem
from gateway.api.services import Services
from gateway.api.visits import agenda, clerk_name, visit_entries, visit_entry
from gateway.core.errors import Refused
from gateway.core.events import TYPES
from gateway.web import words
from gateway.web.screen import STATIC, Screen, waited

AGENDA_ROWS = 8
_WAITING = ("arrived", "alerted")

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def install(app: FastAPI) -> None:
    """Add the pages and what they load."""
    services: Services = app.state.services
    app.state.screen = Screen(services.store_name, services.rules.time_zone)
    app.include_router(router)
    app.mount("/static", _Static(directory=STATIC))


class _Static(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"  # asked again, answered 304: an upgrade shows at once
        return response


@router.get("/")
async def root() -> Response:
    """The clerk's page is the first one."""
    return RedirectResponse("/clerk", 303)


@router.get("/clerk")
async def clerk_page(request: Request, services: Gateway, live: Running) -> Response:
    """The queue and the first card, so that the page is useful before any script has run."""
    try:
        caller = await _clerk(request, services, live)
    except (Problem, Refused):
        return RedirectResponse("/clerk/sign-in", 303)
    page = await live.blocking(_page, services, caller)
    return _html(request, "clerk.html", **page)


@router.get("/clerk/queue")
async def queue_piece(
    request: Request,
    services: Gateway,
    live: Running,
    show: Annotated[str, Query(pattern="^(mine|store)$")] = "mine",
    selected: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """The left side."""
    caller = await _clerk(request, services, live)
    return _html(request, "queue.html", **await live.blocking(_queue, services, caller, show, selected))


@router.get("/clerk/visits/{visit}")
async def card_piece(visit: VisitId, request: Request, services: Gateway, live: Running) -> Response:
    """The right side."""
    caller = await _clerk(request, services, live)
    entry = await live.blocking(visit_entry, services, find_visit(services, visit), caller)
    return _html(request, "card.html", **_card(services, caller, entry))


@router.get("/clerk/visits/{visit}/dossier")
async def dossier_piece(visit: VisitId, request: Request, services: Gateway, live: Running) -> Response:
    """What the clerk may know: audited, like the API's own."""
    caller = await _clerk(request, services, live)
    dossier = await live.blocking(open_dossier, services, find_visit(services, visit), caller.name)
    return _html(request, "dossier.html", dossier=dossier, now=services.now())


@router.get("/clerk/sign-in")
async def sign_in_page(request: Request) -> Response:
    """Where a clerk pastes a token."""
    return _html(request, "sign_in.html", problem=None)


@router.post("/clerk/sign-in")
async def sign_in(request: Request, services: Gateway, live: Running) -> Response:
    """Keep a clerk's token in the browser's cookie."""
    check_origin(request)
    async with request.form(max_files=0, max_fields=4) as form:
        token = str(form.get("token", "")).strip()
    try:
        caller = await verify(token, services, live)
    except (Problem, Refused) as error:
        return _html(request, "sign_in.html", 401, problem=error.detail)
    if caller.role != "clerk":
        return _html(
            request, "sign_in.html", 403, problem="This is not a clerk's token: ask for one of scope clerk."
        )
    answer = RedirectResponse("/clerk", 303)
    set_cookie(request, answer, token)
    return answer


@router.post("/clerk/sign-out")
async def sign_out(request: Request) -> Response:
    """Take the token out of the browser's cookie."""
    check_origin(request)
    answer = RedirectResponse("/clerk/sign-in", 303)
    set_cookie(request, answer, "")
    return answer


@router.get("/api/docs")
async def docs(request: Request) -> Response:
    """The OpenAPI document, for people."""
    return _html(
        request, "docs.html", document=request.app.openapi(), methods=("get", "put", "post", "delete")
    )


async def _clerk(request: Request, services: Services, live: Any) -> Caller:
    caller = await identify(request, services, live, None)
    if caller.role != "clerk":
        raise Problem(403, "scope-insufficient", "This page is for clerks.")
    return caller


def _html(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    screen: Screen = request.app.state.screen
    return HTMLResponse(screen.render(template, **values), status)


def _page(services: Services, caller: Caller) -> dict[str, Any]:
    left = _queue(services, caller, "mine", "")
    first = next((e for e in [*left["waiting"], *left["with_me"]]), None)
    duty = services.engine.state.clerks.get(caller.name)
    return {
        **left,
        "selected": first["visit"] if first else "",
        "me_name": clerk_name(services, caller.name),
        "duty": words.DUTY_OF_STATE.get(duty.duty, "available") if duty else None,
        "zones": dict(services.zones),
        "event_types": " ".join(sorted(TYPES)),
        "epoch": services.log.epoch,
        **(_card(services, caller, first) if first else {"visit": None}),
    }


def _queue(services: Services, caller: Caller, show: str, selected: str) -> dict[str, Any]:
    """The queue in the order a clerk needs it: who waits for her, whom she has, whom colleagues have."""
    now = services.now()
    seen = visit_entries(services, caller, only_open=True)
    entries = [_with_wait(entry, now) for entry in seen["visits"]]
    waiting = [e for e in entries if e["state"] in _WAITING]
    if show == "mine":
        waiting = [e for e in waiting if e["alerts"] or e["assignment"]["clerk"] in (None, caller.name)]
    taken = [e for e in entries if e["state"] not in _WAITING]
    later = [_with_past(a, now) for a in agenda(services)["appointments"] if _is_ahead(services, a, now)]
    if show == "mine":
        later = [a for a in later if a["clerk"] in (None, caller.name)]
    return {
        "show": show,
        "selected": selected,
        "seq": seen["seq"],
        "now": now,
        "me": caller.name,
        "waiting": sorted(waiting, key=lambda e: (not e["alerts"], e["opened_at"])),
        "with_me": [e for e in taken if e["assignment"]["taken_by"] == caller.name],
        "with_others": [e for e in taken if e["assignment"]["taken_by"] != caller.name]
        if show == "store"
        else [],
        "later": later[:AGENDA_ROWS],
    }


def _with_wait(entry: dict[str, Any], now: datetime) -> dict[str, Any]:
    text, urgency = waited(entry["opened_at"], now)
    return {**entry, "wait": text, "urgency": urgency}


def _with_past(planned: dict[str, Any], now: datetime) -> dict[str, Any]:
    return {**planned, "past": datetime.fromisoformat(planned["start"]) < now}


def _is_ahead(services: Services, planned: dict[str, Any], now: datetime) -> bool:
    start = datetime.fromisoformat(planned["start"])
    return planned["visit"] is None and planned["status"] == "booked" and start + services.rules.late >= now


def _card(services: Services, caller: Caller, entry: dict[str, Any]) -> dict[str, Any]:
    now = services.now()
    return {"visit": _with_wait(entry, now), "me": caller.name, "now": now}
