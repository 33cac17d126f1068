"""What a type of reader can be told in `[[readers]]`, and the check that reports every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.core.errors import Refused

REQUIRED: Final = object()
COMMON = ("id", "type", "zone")  # every reader has these; the gateway checks them


@dataclass(frozen=True, slots=True)
class Option:
    """One key. `kind` is the TOML value's type (an int is good for a float). `problem` says what is wrong
    with a value of the right type, or None."""

    kind: type
    default: object = REQUIRED
    help: str = ""
    problem: Callable[[object], str | None] = lambda _: None


Options = Mapping[str, Option]


def between(low: float, high: float) -> Callable[[object], str | None]:
    """The value is a number from `low` to `high`, both included."""
    return lambda value: (
        None if isinstance(value, int | float) and low <= value <= high else f"must be from {low} to {high}"
    )


def one_of(*choices: str) -> Callable[[object], str | None]:
    """The value is one of `choices`."""
    return lambda value: None if value in choices else f"must be one of {', '.join(choices)}"


def problems(options: Options, settings: Mapping[str, object]) -> list[str]:
    """Everything that is wrong with a reader's table, each as `key: what to do`."""
    unknown = [f"{key}: unknown key" for key in settings if key not in options and key not in COMMON]
    return unknown + [found for key in options if (found := _problem(key, options[key], settings))]


def values(options: Options, settings: Mapping[str, object]) -> dict[str, Any]:
    """The options' values, defaults filled in, each of its option's kind.

    Raises:
        Refused: reader-settings, with every problem.
    """
    refuse(settings, problems(options, settings))
    return {
        key: option.kind(settings[key]) if key in settings else option.default
        for key, option in options.items()
    }


def refuse(settings: Mapping[str, object], found: Sequence[str]) -> None:
    """Nothing, when no problem was found.

    Raises:
        Refused: reader-settings, with every problem.
    """
    if found:
        raise Refused("reader-settings", f"Reader {settings.get('id')}: {'; '.join(found)}.")


def _problem(key: str, option: Option, settings: Mapping[str, object]) -> str | None:
    if key not in settings:
        return f"{key}: missing ({option.help})" if option.default is REQUIRED else None
    value = settings[key]
    kinds = (int, float) if option.kind is float else (option.kind,)
    if not isinstance(value, kinds) or (isinstance(value, bool) and option.kind is not bool):
        return f"{key}: must be of type {option.kind.__name__}"
    found = option.problem(option.kind(value))
    return f"{key}: {found}" if found else None
