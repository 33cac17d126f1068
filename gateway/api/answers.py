"""Receipts as HTTP answers, and what the routes' documentation says of them.

| Receipt                       | Status                                                             |
|-------------------------------|--------------------------------------------------------------------|
| accepted                      | 200 (201 where something was made)                                 |
| refused                       | 409; see `problems.STATUS` for `unknown-visit`, `busy` and others  |
| repeated                      | the first one's status, with `outcome` "repeated" and `first`      |

A refusal is a problem document that has the receipt's members as extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.responses import Response

from gateway.api.problems import MEDIA_TYPE, Problem, status_of
from gateway.api.schemas import ProblemBody
from gateway.core.codec import canonical, plain
from gateway.core.receipts import Outcome, Receipt

Responses = dict[int | str, dict[str, Any]]

_MEANINGS = {
    400: "Not JSON, not UTF-8, nested too deep, or a cursor that is not ours",
    401: "No token, or one that is unknown, expired or revoked",
    403: "Not with this scope, or not yet",
    404: "There is no such thing",
    409: "Refused: not possible now, and nothing has changed",
    413: "Too large",
    421: "Not a host name of this gateway",
    422: "A field is missing or wrong, or a credential cannot be read",
    502: "The broker or the platform failed",
    503: "Busy: nothing was accepted, try again",
}


def problems(*statuses: int) -> Responses:
    """The problem documents a route may answer with, for OpenAPI. 401 and 421 always can."""
    return {status: {"model": ProblemBody, **_of_problem(status)} for status in sorted({401, 421, *statuses})}


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document without FastAPI's own idea of an error."""
    for item in document["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if status == "422" and MEDIA_TYPE not in content:
                    response.update(_of_problem(422))
                elif MEDIA_TYPE in content:
                    content.pop("application/json", None)
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
    return document


def _of_problem(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/ProblemBody"}
    return {"description": _MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A plain value as JSON."""
    return Response(canonical(value), status, dict(headers or {}), "application/json")


def answer(
    receipt: Receipt,
    *,
    named: Mapping[str, str],
    accepted: int = 200,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The receipt as an HTTP answer. `named` replaces the engine's command id by the caller's own.

    Raises:
        Problem: the command was refused, now or the first time.
    """
    members = {**plain(receipt), **named, **(more or {})}
    members.pop("detail", None)
    if "command" not in named:
        members.pop("command", None)
    final = receipt.final
    if final.outcome is Outcome.ACCEPTED:
        return json_answer(members, accepted, headers)
    reason = final.reason or "refused"
    if receipt.outcome is Outcome.REPEATED:
        detail = "This command was refused before, and a repeat changes nothing: give a new one a new id."
    else:
        detail = receipt.detail or "This is not possible now; nothing has changed."
    raise Problem(status_of(reason), reason, detail, more=members)
