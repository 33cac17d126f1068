"""What was measured, as a table for people and JSON for machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

HEAD = ("what", "floor or peer", "ours", "ratio", "target", "reached")


@dataclass(frozen=True)
class Row:
    """One line. `value` is ours as a number, in `unit`; `reached` is None without a target or a measurement."""

    what: str
    floor: float | None = None
    value: float | None = None
    unit: str = ""
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None
    note: str = ""


def beside(
    what: str,
    floor: float,
    ours: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Ours beside a floor or a peer: the ratio counts."""
    ratio = ours / floor
    return Row(what, floor, ours, unit, ratio, *_judged(ratio, " times", at_most, at_least))


def sooner(what: str, peer: float, ours: float, unit: str, *, at_least: float) -> Row:
    """How many times sooner ours is than a peer."""
    ratio = peer / ours
    return Row(what, peer, ours, unit, ratio, *_judged(ratio, " times sooner", None, at_least))


def alone(
    what: str,
    ours: float,
    unit: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    note: str = "",
) -> Row:
    """A number of its own."""
    return Row(what, None, ours, unit, None, *_judged(ours, f" {unit}", at_most, at_least), note)


def not_run(what: str, why: str) -> Row:
    """A line that says why there is nothing."""
    return Row(what, note=why)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which that share of them lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def as_text(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_json(rows: Sequence[Row], machine: dict[str, Any]) -> dict[str, Any]:
    """The same for machines."""
    return {"machine": machine, "rows": [asdict(row) for row in rows]}


def _judged(
    value: float, unit: str, at_most: float | None, at_least: float | None
) -> tuple[str, bool | None]:
    if at_most is not None:
        return f"≤ {at_most:,g}{unit}", value <= at_most
    if at_least is not None:
        return f"≥ {at_least:,g}{unit}", value >= at_least
    return "", None


def _cells(row: Row) -> tuple[str, ...]:
    reached = {True: "yes", False: "NO", None: ""}[row.reached]
    floor, ours = (
        f"{_short(each)} {row.unit}" if each is not None else "" for each in (row.floor, row.value)
    )
    ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
    return row.what, floor, ours or row.note, ratio, row.target, reached


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
