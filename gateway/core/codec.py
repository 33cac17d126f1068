"""Plain JSON values for our frozen dataclasses, and back.

Times are RFC 3339 in UTC with microseconds and `Z`. Canonical JSON (sorted keys, no white space, UTF-8, no NaN)
is what hashes and signatures are made over; only strings, integers, booleans, null, arrays and objects occur.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from gateway.core.table import Table

_SCALARS = frozenset((str, int, bool, NoneType))
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> bytes:
    """The one JSON text of a plain value.

    Raises:
        ValueError: NaN or infinity.
    """
    return _CANONICAL.encode(value).encode()


@lru_cache(maxsize=256)  # one command writes the same few times again and again
def rfc3339(at: datetime) -> str:
    """`2026-11-22T10:02:03.456000Z`."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="microseconds")[:-6] + "Z"


def plain(value: Any) -> Any:
    """A dataclass, a container of them or a scalar, as JSON values. Fields that are None are left out."""
    kind: Any = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {name: plain(item) for name in _names(kind) if (item := getattr(value, name)) is not None}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"{kind.__name__} has no JSON form here")


def restore(kind: Any, value: Any) -> Any:
    """The value of type `kind` that `plain` turned into `value`; unknown fields are passed over.

    Raises:
        ValueError, KeyError, TypeError: `value` is not the JSON form of a `kind`.
    """
    return _restorer(kind)(value)


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def _same(value: Any) -> Any:
    return value


@cache
def _restorer(kind: Any) -> Callable[[Any], Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = (a for a in arguments if a is not NoneType)
        some = _restorer(inner)
        return some if some is _same else lambda value: None if value is None else some(value)
    if origin is tuple:
        item = _restorer(arguments[0])
        return tuple if item is _same else lambda value: tuple(map(item, value))
    if origin is Table:
        entry = _restorer(arguments[0])
        return lambda value: Table({k: entry(v) for k, v in value.items()})
    if kind is datetime:
        return datetime.fromisoformat
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass_restorer(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.value: member for member in kind}.__getitem__
    return _same


def _dataclass_restorer(kind: Any) -> Callable[[Any], Any]:
    """A constructor written for `kind`, a dataclass with slots and no `__post_init__`.

    It sets the slots itself: a frozen dataclass's own `__init__` takes three times as long, and a replay
    of the log spends most of its time here. Text from outside never gets into the source.
    """
    hints = get_type_hints(kind)
    scope: dict[str, Any] = {"new": object.__new__, "kind": kind}
    lines = ["def build(value):", " made = new(kind)"]
    for n, field in enumerate(fields(kind)):
        hint = hints[field.name]
        part = _restorer(hint)
        scope |= {f"set{n}": getattr(kind, field.name).__set__, f"part{n}": part}
        found = f"value[{field.name!r}]" if part is _same else f"part{n}(value[{field.name!r}])"
        if (default := _default(field, hint)) is not None:
            scope[f"default{n}"] = default
            found += f" if {field.name!r} in value else default{n}()"
        lines.append(f" set{n}(made, {found})")
    exec("\n".join([*lines, " return made"]), scope)
    build: Callable[[Any], Any] = scope["build"]
    return build


def _default(field: Field[Any], hint: Any) -> Callable[[], Any] | None:
    """What makes the value of a field that is not there; None when it must be. `plain` leaves None out."""
    if field.default is not MISSING:
        value = field.default
        return lambda: value
    if field.default_factory is not MISSING:
        return field.default_factory
    return NoneType if NoneType in get_args(hint) else None
