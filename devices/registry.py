"""The types of reader, found by entry point: a type is a module with `build(settings)` and `OPTIONS`,
and with a `check(settings)` of its own where one option depends on another.

`settings` is one `[[readers]]` table as parsed. `type = "mqtt"` is not here: such a reader publishes by
itself and needs no thread of ours.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from devices.options import Options, problems, refuse
from devices.reader import Reader

GROUP = "soglia.readers"

Check = Callable[[Mapping[str, object]], list[str]]


def types() -> tuple[str, ...]:
    """The types that are installed, sorted."""
    return tuple(sorted(_found()))


def check(settings: Mapping[str, object]) -> list[str]:
    """Everything that is wrong with a reader's table, each as `key: what to do`."""
    kind = settings.get("type")
    entry = _found().get(kind) if isinstance(kind, str) else None
    if entry is None:
        return [f"type: must be one of {', '.join(types())}"]
    module = importlib.import_module(entry.module)
    if own := cast("Check | None", getattr(module, "check", None)):
        return own(settings)
    return problems(cast("Options", module.OPTIONS), settings)


def build(settings: Mapping[str, object]) -> Reader:
    """The reader that a table describes. Its device is not touched and no driver imported before it runs.

    Raises:
        Refused: reader-settings, with every problem and its key.
    """
    refuse(settings, check(settings))
    make = cast("Callable[[Mapping[str, object]], Reader]", _found()[str(settings["type"])].load())
    return make(settings)


@cache
def _found() -> Mapping[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
