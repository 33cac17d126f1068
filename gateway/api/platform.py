"""The central platform's routes: it hands the directory down, pulls batches, and says what it has kept."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from gateway.api.answers import json_answer, problems
from gateway.api.auth import Caller, Gateway, Running, allow
from gateway.api.limits import too_large
from gateway.api.live import Live, outcome
from gateway.api.ndjson import Lines
from gateway.api.problems import Problem
from gateway.api.schemas import AckBody, AcknowledgedBody, BatchBody, DirectoryAnswer, KeysBody
from gateway.api.services import Services

LINE_LIMIT = 256 * 1024
DIRECTORY_LIMIT = 1024 * 1024 * 1024
CHUNK_LINES = 30_000  # a child process a chunk, which takes a third of a second to start
CHUNK_BYTES = 8 * 1024 * 1024
BATCH_LIMIT = 5_000
WAIT_LIMIT = 60
COMPRESS_FROM = 16 * 1024
NDJSON = "application/x-ndjson"

router = APIRouter(prefix="/api/v1", tags=["Platform"])

Platform = Annotated[Caller, Depends(allow("platform"))]

_NDJSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {NDJSON: {"schema": {"type": "string", "description": "One directory record a line"}}},
    }
}


@router.put(
    "/sync/directory",
    response_model=DirectoryAnswer,
    openapi_extra=_NDJSON_BODY,
    responses=problems(403, 413, 503),
)
async def put_directory(request: Request, services: Gateway, live: Running, caller: Platform) -> Response:
    """Upserts and tombstones, one a line, in transactions of up to 1,000. Repeating it changes nothing; a line
    that cannot be accepted is quarantined and reported, and the rest lands."""
    return json_answer(await _take_lines(request, services, live))


@router.get(
    "/sync/batches",
    response_model=BatchBody,
    responses={
        200: {"content": {NDJSON: {"schema": {"type": "string"}}}, "description": "A batch"},
        **problems(400, 403, 409, 422),
    },
)
async def get_batch(
    request: Request,
    services: Gateway,
    live: Running,
    caller: Platform,
    after: Annotated[
        str | None, Query(min_length=1, max_length=512, description="The last batch's `next`")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=BATCH_LIMIT)] = 500,
    wait: Annotated[float, Query(ge=0, le=WAIT_LIMIT, description="Seconds to wait for a first event")] = 0,
) -> Response:
    """The events after a cursor. The same range always has the same bytes. `Accept: application/x-ndjson` gives
    the header on the first line and an event on each of the others."""
    batch = await _pull(services, live, after, limit, wait)
    lines = NDJSON in request.headers.get("accept", "")
    body = as_lines(batch) if lines else as_json(batch)
    headers = {"vary": "Accept, Accept-Encoding"}
    if len(body) >= COMPRESS_FROM and accepts_gzip(request.headers.get("accept-encoding", "")):
        body = await live.blocking(gzip.compress, body, compresslevel=1, mtime=0)
        headers["content-encoding"] = "gzip"
    return Response(body, headers=headers, media_type=NDJSON if lines else "application/json")


@router.get("/sync/keys", response_model=KeysBody, responses=problems(403))
async def get_keys(services: Gateway, live: Running, caller: Platform) -> Response:
    """The public keys that batches are signed with."""
    return json_answer(await live.blocking(services.outbox.keys))


@router.post("/sync/ack", response_model=AcknowledgedBody, responses=problems(400, 403, 409, 413, 422, 503))
async def post_ack(body: AckBody, services: Gateway, live: Running, caller: Platform) -> Response:
    """Everything up to the cursor is safe with the platform. Never goes back."""
    future = await live.blocking(services.outbox.acknowledge, body.cursor)
    return json_answer({"acknowledged_seq": await outcome(future)})


@router.post("/hooks/{name}", tags=["Webhooks"], responses=problems(404, 413, 422, 502, 503))
async def post_hook(name: str, request: Request, services: Gateway, live: Running) -> Response:
    """A booking system's webhook; its signature is its credential."""
    hook = services.hooks.get(name)
    if hook is None:
        raise Problem(404, "unknown-hook", "No webhook of this name is configured: see [webhooks].")
    headers = {key.lower(): value for key, value in request.headers.items()}
    return json_answer(await live.blocking(hook, await request.body(), headers))


def as_json(batch: Mapping[str, Any]) -> bytes:
    """One object, with the stored bytes of the events as they are."""
    members = []
    for key, value in batch.items():
        text = b"[" + b",".join(value) + b"]" if key == "events" else _json(value)
        members.append(_json(key) + b":" + text)
    return b"{" + b",".join(members) + b"}"


def as_lines(batch: Mapping[str, Any]) -> bytes:
    """The header on a line, then an event a line."""
    header = {key: value for key, value in batch.items() if key != "events"}
    return b"\n".join((_json(header), *batch["events"], b""))


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header asks for gzip."""
    for part in header.lower().replace(" ", "").split(","):
        coding, _, quality = part.partition(";q=")
        if coding == "gzip":
            return quality.strip("0.") != "" or quality == ""
    return False


async def _pull(
    services: Services, live: Live, after: str | None, limit: int, wait: float
) -> Mapping[str, Any]:
    until = asyncio.get_running_loop().time() + wait
    with live.watch() as watch:
        while True:
            batch = await live.blocking(services.outbox.pull, after, limit)
            left = until - asyncio.get_running_loop().time()
            if batch["count"] or left <= 0 or live.closing:
                return batch
            await watch.wait(left)


async def _take_lines(request: Request, services: Services, live: Live) -> dict[str, Any]:
    """Hand the lines on in pieces, so that a body of any length costs bounded memory."""
    total: dict[str, Any] = {"accepted": 0, "unchanged": 0, "stale": 0, "quarantined": []}
    lines, waiting, done, size, held = Lines(LINE_LIMIT), list[bytes](), 0, 0, 0
    async for chunk in request.stream():
        size += len(chunk)
        held += len(chunk)
        if size > DIRECTORY_LIMIT:
            raise too_large(DIRECTORY_LIMIT)
        waiting += lines.feed(chunk)
        if len(waiting) >= CHUNK_LINES or (held >= CHUNK_BYTES and waiting):
            _add(total, await live.blocking(services.put_directory, waiting), done)
            done, waiting, held = done + len(waiting), [], 0
    waiting += lines.end()
    if waiting or not done:
        _add(total, await live.blocking(services.put_directory, waiting), done)
    return total


def _add(total: dict[str, Any], answer: Mapping[str, Any], lines_before: int) -> None:
    for key in ("accepted", "unchanged", "stale"):
        total[key] += answer[key]
    total["quarantined"] += [{**bad, "line": bad["line"] + lines_before} for bad in answer["quarantined"]]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
