"""Errors as RFC 9457 problem documents: one form for everything that goes wrong over HTTP.

`type` is `urn:soglia:problem:{reason}`, and `reason` is the slug itself, so that a machine needs no parsing.
`detail` is one sentence for people. Neither ever shows a stack trace, a credential or a person's name.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gateway.core.codec import canonical
from gateway.core.errors import DecodeError, LogError, PeerError, ReaderError, SogliaError

MEDIA_TYPE = "application/problem+json"

# reason -> status, where the kind of the error alone does not tell
STATUS: dict[str, int] = {
    "token-missing": 401,
    "token-unknown": 401,
    "token-expired": 401,
    "token-revoked": 401,
    "forbidden": 403,
    "scope-insufficient": 403,
    "confirmation-required": 403,
    "not-assigned": 403,
    "origin-not-allowed": 403,
    "cursor-invalid": 400,
    "cursor-of-another-epoch": 409,
    "unknown-visit": 404,
    "unknown-visitor": 404,
    "unknown-hook": 404,
    "unknown-action": 422,
    "unknown-status": 422,
    "incomplete": 422,
    "malformed": 422,
    "busy": 503,
}
RETRY_AFTER_SECONDS = 1

_BY_HTTP_STATUS = {
    400: ("malformed", "The request cannot be understood."),
    404: ("not-found", "There is nothing at this address: see /api/docs."),
    405: ("method-not-allowed", "This address does not answer to this method: see /api/docs."),
}


class Problem(Exception):
    """A request that ends with this problem. `more` are extension members."""

    def __init__(
        self,
        status: int,
        reason: str,
        detail: str,
        *,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.more = dict(more or {})
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The problem document."""
        headers = dict(self.headers)
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = 'Bearer realm="soglia"'
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.setdefault("retry-after", str(RETRY_AFTER_SECONDS))
        body = {
            **self.more,
            "type": f"urn:soglia:problem:{self.reason}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "reason": self.reason,
        }
        return Response(canonical(body), self.status, headers, MEDIA_TYPE)


def status_of(reason: str, default: int = 409) -> int:
    """The HTTP status of a refusal, by its reason."""
    if reason.startswith("signature-"):
        return HTTPStatus.UNAUTHORIZED
    return STATUS.get(reason, default)


def problem_of(error: SogliaError) -> Problem:
    """The problem that one of our own errors amounts to."""
    if isinstance(error, LogError):
        return Problem(503, error.reason, "The gateway's disk failed: nothing was accepted. Try again soon.")
    if isinstance(error, PeerError | ReaderError):
        return Problem(502, error.reason, error.detail)
    if isinstance(error, DecodeError):
        return Problem(422, error.reason, error.detail)
    return Problem(status_of(error.reason, default=422), error.reason, error.detail)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(SogliaError)
    async def on_ours(request: Request, error: SogliaError) -> Response:
        if isinstance(error, LogError):
            request.app.state.services.on_fatal(error)
        return problem_of(error).response()

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        return Problem(422, "malformed", sentence(error.errors())).response()

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        reason, detail = _BY_HTTP_STATUS.get(error.status_code, ("malformed", str(error.detail)))
        return Problem(error.status_code, reason, detail, headers=error.headers).response()


def sentence(errors: Any) -> str:
    """The first validation error as `field: what is wrong`, without repeating the value."""
    first = errors[0]
    field = ".".join(str(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{field}: {message}" if field else message
