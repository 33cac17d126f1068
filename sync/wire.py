"""The schema of what goes to the platform, made from the events themselves.

`python -m sync.wire` writes `events.schema.json` (JSON Schema 2020-12); a test fails when it is not current.
The document describes one event as it stands in a batch; `$defs/batch` describes a batch. Fields may be added
within a version, so unknown ones are allowed; a field is required when no event of that type was ever without.
"""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gateway.core.events import TYPES, Event
from sync.batch import FIELDS

VERSION = 1
FILE = Path(__file__).with_name("events.schema.json")

_HASH = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME = {"type": "string", "format": "date-time", "pattern": "Z$"}
_SEQ = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string", "minLength": 1}
_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
    datetime: _TIME,
}


def schema() -> dict[str, Any]:
    """The whole document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:soglia:sync:v{VERSION}",
        "title": "An event in a Soglia sync batch",
        "description": "CloudEvents 1.0, structured JSON. Pseudonymous ids only, no personal data.",
        "type": "object",
        "properties": _envelope(),
        "required": sorted(_envelope()),
        "allOf": [_when(name) for name in sorted(TYPES)],
        "$defs": {"batch": _batch(), **{name: _object(TYPES[name]) for name in sorted(TYPES)}},
    }


def text() -> str:
    """The document as it is committed."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def _envelope() -> dict[str, Any]:
    return {
        "specversion": {"const": "1.0"},
        "id": {**_TEXT, "description": "Unique within the source; the one to de-duplicate by."},
        "source": {"type": "string", "pattern": "^soglia/[A-Za-z0-9._:-]{1,128}$"},
        "type": {"enum": sorted(TYPES)},
        "subject": _TEXT,
        "time": _TIME,
        "datacontenttype": {"const": "application/json"},
        "sequence": {**_SEQ, "minimum": 1},
        "hash": _HASH,
        "data": {"type": "object"},
    }


def _when(name: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"type": {"const": name}}, "required": ["type"]},
        "then": {"properties": {"data": {"$ref": f"#/$defs/{name}"}}},
    }


def _batch() -> dict[str, Any]:
    properties: dict[str, Any] = {
        "store": _TEXT,
        "epoch": _TEXT,
        "first_seq": _SEQ,
        "last_seq": _SEQ,
        "count": _SEQ,
        "prev_hash": _HASH,
        "hash": _HASH,
        "events": {"type": "array", "items": {"$ref": "#"}},
        "next": {**_TEXT, "description": "Opaque: the `after` of the next pull."},
        "high_water": {**_SEQ, "description": "The store's newest event; not signed."},
        "signature": {"type": "string", "pattern": "^[A-Za-z0-9_-]{86}$"},
        "key_id": _TEXT,
    }
    return {"type": "object", "properties": properties, "required": list(FIELDS)}


def _object(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    own = [field for field in fields(kind) if not (issubclass(kind, Event) and field.name == "at")]
    return {
        "description": " ".join(str(kind.__doc__).split()),
        "type": "object",
        "properties": {field.name: _value(hints[field.name]) for field in own},
        "required": [field.name for field in own if _always(field, hints[field.name])],
    }


def _always(field: Field[Any], hint: Any) -> bool:
    optional = NoneType in get_args(hint)
    return not optional and field.default is MISSING and field.default_factory is MISSING


def _value(hint: Any) -> dict[str, Any]:
    """What `gateway.core.codec.plain` makes of a value of this type; None is left out, never null."""
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (a for a in get_args(hint) if a is not NoneType)
        return _value(inner)
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _value(get_args(hint)[0])}
    if isinstance(hint, type) and is_dataclass(hint):
        return _object(hint)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    return _PLAIN[hint]


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
