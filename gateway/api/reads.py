"""`POST /reads`: the same read as on MQTT, or a picture of a code, into the same pipeline.

Who sends it decides whose read it is. A `reader` token speaks for its own reader only; a kiosk is a reader by
its own id; a clerk's tablet is the reader `tablet:{clerk}`. The zone is the configuration's to tell.
"""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.datastructures import UploadFile

from gateway.api.answers import answer, problems
from gateway.api.auth import Caller, Gateway, Running, allow
from gateway.api.limits import PICTURE_LIMIT
from gateway.api.live import Live, outcome
from gateway.api.problems import Problem
from gateway.api.schemas import ReadEvent, ReadReceiptBody
from gateway.api.services import Services
from gateway.core.model import Read, Technology, is_id
from gateway.shell.intake import Malformed, parse_read

router = APIRouter(prefix="/api/v1", tags=["Reads"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ReadEvent.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {
                        "picture": {"type": "string", "format": "binary", "description": "PNG or JPEG"},
                        "id": {
                            "type": "string",
                            "description": "The read's identity; minted here when absent",
                        },
                    },
                }
            },
        },
    }
}


@router.post(
    "/reads",
    response_model=ReadReceiptBody,
    openapi_extra=_BODY,
    responses=problems(400, 403, 409, 413, 422, 503),
)
async def post_read(
    request: Request,
    services: Gateway,
    live: Running,
    caller: Annotated[Caller, Depends(allow("reader", "kiosk", "clerk"))],
) -> Response:
    """Hand in a read. A refused one (an unknown or expired code) answers 409 with the reason."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        read = await _from_picture(request, services, live, reader_of(caller))
    else:
        read = _from_event(await request.body(), reader_of(caller), services.store)
    receipt = await outcome(await live.blocking(services.read, read))
    return answer(receipt, named={"read": read.id})


def reader_of(caller: Caller) -> str:
    """The reader that a caller's reads are recorded under."""
    return f"tablet:{caller.name}" if caller.role == "clerk" else caller.name


def _from_event(body: bytes, reader: str, store: str) -> Read:
    try:
        return parse_read(body, reader, store)
    except Malformed as error:
        status = 403 if error.reason == "foreign-source" else 422
        raise Problem(status, error.reason, error.detail[:1].upper() + error.detail[1:]) from None


async def _from_picture(request: Request, services: Services, live: Live, reader: str) -> Read:
    async with request.form(max_files=1, max_fields=4, max_part_size=PICTURE_LIMIT) as form:
        picture, name = form.get("picture"), form.get("id")
        if not isinstance(picture, UploadFile):
            raise Problem(422, "malformed", "picture: the form has no such file")
        body = await picture.read()
    identity = uuid.uuid4().hex if name is None else str(name)
    if not is_id(identity):
        raise Problem(422, "malformed", "id: at most 128 characters of A-Z a-z 0-9 . _ : -")
    found = set(await live.blocking(services.decode_picture, body))
    if not found:
        raise Problem(
            422, "no-code", "No QR code was found in the picture: hold it flat, near and in the light."
        )
    if len(found) > 1:
        raise Problem(422, "several-codes", "Several codes are in the picture: show only one.")
    symbology, text = found.pop()
    return Read(identity, reader, Technology.QR, {"payload": text, "symbology": symbology})
