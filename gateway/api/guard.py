"""The outermost layer: which hosts we answer to, the headers every answer carries, and the last catch.

The Host allow-list stops DNS rebinding: a page on another name cannot talk to the gateway through the
visitor's own browser. The policy lets a page load only what the gateway itself serves.
"""

from __future__ import annotations

import logging
from ipaddress import ip_address

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.problems import Problem

_logger = logging.getLogger(__name__)

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    # No other site hears of us. "no-referrer" would also blank the Origin of our own forms, which is checked.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), payment=()",
}


class Guard:
    """ASGI middleware: refuse foreign hosts, add the headers, answer 500 without a stack trace."""

    def __init__(self, app: ASGIApp, allowed_hosts: frozenset[str]) -> None:
        self._app = app
        self._allowed = frozenset(host.lower().strip("[]") for host in allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if not self._is_ours(scope):
            problem = Problem(
                421, "host-not-allowed", "The gateway does not answer to this host name: see api.public_url."
            )
            await problem.response()(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, receive, send_guarded)
        except Exception:
            _logger.exception("%s %s failed", scope["method"], scope["path"])
            if not started:
                problem = Problem(
                    500, "internal", "The gateway made a mistake: nothing is known to have changed."
                )
                await problem.response()(scope, receive, send_guarded)

    def _is_ours(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            return False
        name = host_name(hosts[0].decode("latin-1"))
        # Rebinding needs a name of the attacker's: where we listen on every address, any address will do.
        return name in self._allowed or (bool(_EVERYWHERE & self._allowed) and _is_address(name))


_EVERYWHERE = frozenset({"0.0.0.0", "::"})


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def host_name(host: str) -> str:
    """The name in a Host header, without the port: `[::1]:80` gives `::1`."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
