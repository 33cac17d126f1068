"""`changed(value, field=…)`: a copy of a frozen dataclass with some fields set anew.

The same as `dataclasses.replace`, which checks and sets each field by a call of its own and takes five times as
long: a visit has nearly forty fields and changes three times while a visitor walks in. Only for classes with
slots and without `__post_init__`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as changed
else:

    def changed(value: Any, /, **changes: Any) -> Any:
        """The copy.

        Raises:
            KeyError: there is no such field.
        """
        copy, setters = _copier(type(value))
        made = copy(value)
        for name, new in changes.items():
            setters[name](made, new)
        return made


@cache
def _copier(kind: Any) -> tuple[Callable[[Any], Any], dict[str, Callable[[Any, Any], None]]]:
    setters = {field.name: getattr(kind, field.name).__set__ for field in fields(kind)}
    scope: dict[str, Any] = {"new": object.__new__, "kind": kind}
    lines = ["def copy(value):", " made = new(kind)"]
    for name, setter in setters.items():
        scope[f"set_{name}"] = setter
        lines.append(f" set_{name}(made, value.{name})")
    exec("\n".join([*lines, " return made"]), scope)
    return scope["copy"], setters
