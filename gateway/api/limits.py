"""How much a caller may send, enforced while the bytes arrive, and which JSON is safe to look at.

A body is read here, up to its route's limit, and handed on in one piece; JSON is checked before anything else
sees it. Only `PUT /sync/directory` streams, and bounds its lines itself.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.problems import Problem

JSON_LIMIT = 64 * 1024
HOOK_LIMIT = 1024 * 1024
PICTURE_LIMIT = 8 * 1024 * 1024
DEPTH_LIMIT = 32
STREAMED = frozenset({"/api/v1/sync/directory"})
PARSED = "soglia.json"  # where the parsed body is found in the ASGI scope

_BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})


class Limits:
    """ASGI middleware: 413 for what is too large, 400 for JSON that is broken, too deep or not text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in _BODILESS or scope["path"] in STREAMED:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        hook = scope["path"].startswith("/api/v1/hooks/")
        try:
            body = await _read(receive, headers, limit_of(scope["path"], kind))
            if body and not hook and (kind.endswith("+json") or kind == "application/json"):
                scope[PARSED] = parse(body)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)


def limit_of(path: str, kind: str) -> int:
    """The most bytes that a body of this media type may have at this path."""
    if path.startswith("/api/v1/hooks/"):
        return HOOK_LIMIT
    return PICTURE_LIMIT if path == "/api/v1/reads" and kind == "multipart/form-data" else JSON_LIMIT


def parse(body: bytes) -> Any:
    """The JSON value in `body`.

    Raises:
        Problem: 400 when it is not UTF-8, not JSON, nested too deep, or holds text that cannot be stored.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
        _check(value)
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed", f"The body is not UTF-8 at byte {error.start}.") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise Problem(
            400, "malformed", f"The body is not JSON: {error.msg} at character {error.pos}."
        ) from None
    except ValueError as error:  # NaN, or an integer with thousands of digits
        raise Problem(400, "malformed", f"The body is not JSON: {error}.") from None
    return value


def _check(value: Any) -> None:
    """Walk without recursion: depth, and text that no database or log could take."""
    layer, depth = [value], 0
    while layer:
        depth += 1
        if depth > DEPTH_LIMIT:
            raise _too_deep()
        below: list[Any] = []
        for item in layer:
            if isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
            elif isinstance(item, str) and ("\0" in item or any("\ud800" <= c <= "\udfff" for c in item)):
                raise Problem(
                    400, "malformed", "The body holds a NUL or half a surrogate pair: send plain text."
                )
        layer = below


def _too_deep() -> Problem:
    return Problem(400, "malformed", f"The body is nested deeper than {DEPTH_LIMIT} levels.")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def too_large(limit: int) -> Problem:
    """413 with the limit in it."""
    more = {"limit_bytes": limit}
    return Problem(
        413,
        "too-large",
        f"The body is larger than {limit} bytes.",
        more=more,
        headers={"connection": "close"},
    )


async def _read(receive: Receive, headers: Headers, limit: int) -> bytes | None:
    """The whole body; None when the caller has gone away."""
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
