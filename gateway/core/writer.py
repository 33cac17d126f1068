"""Canonical JSON straight from a dataclass, by code that is written once for each class.

`written(value)` is the same text as `canonical(plain(value))`, and a test holds the two together. Every event is
written while a visitor waits at the door, and `plain` costs ten times as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from json.encoder import encode_basestring as quoted
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gateway.core.codec import canonical, plain, rfc3339
from gateway.core.table import Table

__all__ = ["quoted", "written"]

Write = Callable[[Any], str]


def written(value: Any, without: str | None = None) -> str:
    """The canonical JSON of a scalar, or a dataclass whose fields hold what they are annotated as; None is left out,
    and so is the field called `without`."""
    kind: Any = type(value)
    return _writer(kind, without)(value)


@cache
def _writer(kind: Any, without: str | None = None) -> Write:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = (a for a in arguments if a is not NoneType)
        return _writer(inner)  # None itself is left out by whoever holds it
    if origin is tuple:
        return _sequence(_writer(arguments[0]))
    if origin in (Table, Mapping):
        return _mapping(_writer(arguments[-1]))
    if kind is str:
        return quoted
    if kind is datetime:
        return _time
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, without)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member: quoted(member.value) for member in kind}.__getitem__
    return _anything


def _time(at: datetime) -> str:
    return f'"{rfc3339(at)}"'


def _anything(value: object) -> str:
    return canonical(plain(value)).decode()


def _sequence(item: Write) -> Write:
    return lambda values: f"[{','.join(map(item, values))}]" if values else "[]"


def _mapping(entry: Write) -> Write:
    return lambda table: "{" + ",".join([f"{quoted(k)}:{entry(table[k])}" for k in sorted(table)]) + "}"


def _dataclass(kind: Any, without: str | None) -> Write:
    """Text from outside never gets into the source: only field names do."""
    hints = get_type_hints(kind)
    scope: dict[str, Any] = {}
    lines = ["def write(value):", " out = ''"]
    for name in sorted(field.name for field in fields(kind) if field.name != without):
        scope |= {f"write_{name}": _writer(hints[name])}
        begin, text = f',"{name}":', f"write_{name}(it)"
        if NoneType in get_args(hints[name]):
            lines.append(f" if (it := value.{name}) is not None: out += {begin!r} + {text}")
        else:
            lines.append(f" it = value.{name}; out += {begin!r} + {text}")
    exec("\n".join([*lines, " return '{' + out[1:] + '}'"]), scope)
    write: Write = scope["write"]
    return write
