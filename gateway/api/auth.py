"""Who calls: a bearer token, or the clerk page's cookie that carries one.

A cookie is sent by the browser whether or not the clerk meant it, so a write that rests on one must come from
our own pages (its Origin is the host it was sent to). Over HTTPS the cookie is `__Host-…; Secure`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.responses import Response

from gateway.api.live import Live
from gateway.api.problems import Problem
from gateway.api.services import Services

COOKIE = "soglia-clerk"
SECURE_COOKIE = f"__Host-{COOKIE}"
COOKIE_SECONDS = 16 * 3600  # a working day: the next one begins with a new sign-in
TOKEN_LIMIT = 72

_bearer = HTTPBearer(auto_error=False, description="`soglia token issue --scope …`")
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A verified caller. `repr` never shows the token."""

    role: str
    name: str
    token: str

    @property
    def scope(self) -> str:
        """As in the contract, e.g. `clerk:marco`."""
        return f"{self.role}:{self.name}" if self.name else self.role

    def __repr__(self) -> str:
        return f"Caller({self.scope})"


def services_of(request: Request) -> Services:
    """The services the application was built with."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


def live_of(request: Request) -> Live:
    """The application's waker and threads."""
    live = request.app.state.live
    assert isinstance(live, Live)
    return live


Gateway = Annotated[Services, Depends(services_of)]
Running = Annotated[Live, Depends(live_of)]


def allow(*roles: str) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, who must have one of `roles`."""

    async def allowed(
        request: Request,
        services: Gateway,
        live: Running,
        header: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> Caller:
        caller = await identify(request, services, live, header.credentials if header else None)
        if caller.role not in roles:
            raise Problem(
                403,
                "scope-insufficient",
                f"A token of scope {caller.role} may not do this; one of {', '.join(roles)} may.",
            )
        return caller

    return allowed


async def identify(request: Request, services: Services, live: Live, bearer: str | None) -> Caller:
    """Whoever sent the request.

    Raises:
        Problem: 401 without a valid token; 403 for a write by cookie that another page made.
    """
    if bearer is not None or "authorization" in request.headers:
        return await verify(bearer or "", services, live)
    cookie = request.cookies.get(cookie_name(request))
    if not cookie:
        raise Problem(401, "token-missing", "Send a token as Authorization: Bearer, or sign in.")
    if request.method not in _READING:
        check_origin(request)
    caller = await verify(cookie, services, live)
    if caller.role != "clerk":
        raise Problem(401, "token-missing", "Only clerks sign in with a cookie: send the token as a header.")
    return caller


async def verify(token: str, services: Services, live: Live) -> Caller:
    """The caller a token stands for.

    Raises:
        Refused: the token is unknown, expired or revoked.
    """
    if not 0 < len(token) <= TOKEN_LIMIT or not token.isascii():
        raise Problem(401, "token-unknown", "This token is not one of ours: ask for a new one.")
    grant = await live.blocking(services.verify_token, token)
    return Caller(grant.role, grant.name or "", token)


def check_origin(request: Request) -> None:
    """Let a write through only when one of our own pages made it.

    Raises:
        Problem: 403 `origin-not-allowed`.
    """
    origin = request.headers.get("origin")
    same = origin is not None and urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    if not same or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Problem(
            403, "origin-not-allowed", "This came from another site's page: open the gateway's own page."
        )


def cookie_name(request: Request) -> str:
    """`__Host-` binds the cookie to this host, which only works over HTTPS."""
    return SECURE_COOKIE if request.url.scheme == "https" else COOKIE


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Sign in; an empty `token` signs out."""
    response.set_cookie(
        cookie_name(request),
        token,
        max_age=COOKIE_SECONDS if token else 0,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
