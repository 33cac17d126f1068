"""`GET /stream`: the log as server-sent events, from where the client left off.

    event: hello               the open visits and the log's head; only when there is nothing to resume from
    event: resumed             the log's epoch: a client that knew another one starts afresh
    event: soglia.….v1         the stored CloudEvent, `id:` is its seq
    event: heartbeat           every 15 s, with the gateway's time: how old is what the client shows?

A client that reads slowly costs nothing: events are read from the log when the connection can take them. Only
events advance `Last-Event-ID`, so what a client missed comes again after a reconnect, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse

from gateway.api.answers import problems
from gateway.api.auth import Caller, Gateway, Running, allow, verify
from gateway.api.live import Live
from gateway.api.problems import Problem
from gateway.api.services import Services
from gateway.api.visits import visit_entries
from gateway.core.chain import Sealed
from gateway.core.codec import canonical, rfc3339
from gateway.core.errors import Refused
from gateway.core.react import react

HEARTBEAT_SECONDS = 15.0
CHUNK = 200
STREAMS_LIMIT = 200
RETRY_MILLISECONDS = 2000

router = APIRouter(prefix="/api/v1", tags=["Stream"])


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events"},
        **problems(403, 422, 503),
    },
)
async def get_stream(
    services: Gateway,
    live: Running,
    caller: Annotated[Caller, Depends(allow("clerk", "kiosk"))],
    after: Annotated[int | None, Query(ge=0, description="As Last-Event-ID, for a first connection")] = None,
    last_event_id: Annotated[str | None, Header(description="The seq of the last event seen")] = None,
) -> StreamingResponse:
    """Everything that happens, as it happens. A kiosk hears only that a visit has another state."""
    position = after
    if last_event_id:
        if not last_event_id.isdecimal() or len(last_event_id) > 18:
            raise Problem(422, "malformed", "Last-Event-ID: not a seq")
        position = int(last_event_id)
    if live.watching >= STREAMS_LIMIT:
        raise Problem(503, "busy", "Too many streams are open: close some, or try again in a moment.")
    if position is not None and position > services.log.head[0]:
        position = None  # the log was restored from an earlier backup: start afresh
    return StreamingResponse(
        _frames(services, live, caller, position),
        media_type="text/event-stream",
        headers={"x-accel-buffering": "no"},
    )


async def _frames(
    services: Services, live: Live, caller: Caller, position: int | None
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    with live.watch() as watch:
        yield f"retry: {RETRY_MILLISECONDS}\n\n".encode()
        position, first = await _greeting(services, live, caller, position)
        yield first
        beat = loop.time() + HEARTBEAT_SECONDS
        while not live.closing:
            if services.log.head[0] > position:
                events = await live.blocking(services.log.read, position, CHUNK)
                position = events[-1].seq
                yield b"".join(_frame(sealed, caller) for sealed in events)
            elif loop.time() < beat:
                await watch.wait(beat - loop.time())
            if loop.time() >= beat:
                beat = loop.time() + HEARTBEAT_SECONDS
                if not await _still_allowed(services, live, caller):
                    return
                yield _named("heartbeat", {"at": rfc3339(services.now()), "seq": position})


async def _greeting(
    services: Services, live: Live, caller: Caller, position: int | None
) -> tuple[int, bytes]:
    """Where to read on from, and the first frame."""
    log = services.log
    about = {"store": services.store, "epoch": log.epoch, "at": rfc3339(services.now())}
    if position is not None:
        return position, _named("resumed", {**about, "seq": position})
    if caller.role == "kiosk":
        seq = log.head[0]
        return seq, _named("hello", {**about, "seq": seq}, seq)
    seen = await live.blocking(visit_entries, services, caller, True)
    return seen["seq"], _named("hello", {**about, **seen}, seen["seq"])


async def _still_allowed(services: Services, live: Live, caller: Caller) -> bool:
    """A token that was revoked or has expired ends the stream at the next heartbeat."""
    try:
        await verify(caller.token, services, live)
    except (Refused, Problem):
        return False
    return True


def _frame(sealed: Sealed, caller: Caller) -> bytes:
    if caller.role != "kiosk":
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (sealed.seq, sealed.type.encode(), sealed.body)
    frames = [
        _named(notice.type, notice.data, sealed.seq)
        for notice in react(sealed.event, sealed.seq)
        if notice.topic.startswith("visits/")
    ]
    return b"".join(frames)


def _named(event: str, body: dict[str, Any], seq: int | None = None) -> bytes:
    name = b"" if seq is None else b"id: %d\n" % seq
    return name + b"event: %s\ndata: %s\n\n" % (event.encode(), canonical(body))
