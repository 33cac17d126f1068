"""`python -m gateway.api.openapi` writes the OpenAPI document next to this file; a test holds it current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from gateway.api.app import build
from gateway.api.services import Services
from gateway.core.model import Rules

PATH = Path(__file__).with_name("openapi.json")


class _Nothing:
    """Stands in for every seam: a document is made without calling any."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object, **kwargs: object) -> Any:
        return self


def document() -> str:
    """The document as it is written: indented JSON in a stable order."""
    nothing = cast(Any, _Nothing())
    services = Services(
        store="store",
        store_name="Store",
        rules=Rules(),
        now=nothing,
        log=nothing,
        engine=nothing,
        directory=nothing,
        outbox=nothing,
        verify_token=nothing,
        read=nothing,
        decode_picture=nothing,
        put_directory=nothing,
        hooks={},
        health=nothing,
        metrics=nothing,
        allowed_hosts=frozenset(),
        zones={},
    )
    return json.dumps(build(services).openapi(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    PATH.write_text(document(), "utf-8")
