"""The operator's routes, at the root: is it alive, is it ready, how is it doing."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from gateway.api.answers import json_answer, problems
from gateway.api.auth import Caller, Gateway, Running, allow, verify
from gateway.api.schemas import AliveBody, ReadyBody

router = APIRouter(tags=["Operator"])


@router.get("/healthz", response_model=AliveBody)
async def healthz() -> Response:
    """The process answers. Says nothing about anything else."""
    return json_answer({"status": "alive"})


@router.get(
    "/readyz", response_model=ReadyBody, responses={503: {"model": ReadyBody, "description": "Not ready"}}
)
async def readyz(request: Request, services: Gateway, live: Running) -> Response:
    """Whether the gateway can do its main job now. With an operator's token, each part in plain words."""
    health = await live.blocking(services.health)
    body: dict[str, Any] = {"ready": health.ready}
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme and (await verify(token.strip(), services, live)).role == "operator":
        body["checks"] = dict(health.checks)
    return json_answer(body, 200 if health.ready else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(403)},
)
async def metrics(
    services: Gateway, live: Running, caller: Annotated[Caller, Depends(allow("operator"))]
) -> Response:
    """Prometheus text."""
    return Response(await live.blocking(services.metrics), media_type="text/plain; version=0.0.4")
