"""The shop's floor in the configuration file: its zones, and the readers that stand in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.settings_model import Reader, Zone
from gateway.toml_table import Table, closest

CheckReader = Callable[[Mapping[str, object]], Iterable[str]]

SELF_PUBLISHING = "mqtt"


@dataclass(frozen=True, slots=True)
class ReaderCheck:
    """What judges a reader's table, and the types there are (none given: only `problems` knows)."""

    problems: CheckReader
    types: Collection[str] = ()


def _unique(table: Table, id_: str, first: dict[str, str], what: str) -> None:
    path = table.at("id")
    if id_ in first:
        line = table.notes.line(first[id_])
        table.note("id", f'there is already a {what} "{id_}" on line {line}', "give this one another id")
    elif id_:
        first[id_] = path


def zones(tables: list[Table]) -> tuple[Zone, ...]:
    """`[[zones]]`: the store's floor."""
    first: dict[str, str] = {}
    ids, names, doorways, neighbours = [], [], [], []
    for table in tables:
        id_ = table.id("id")
        _unique(table, id_, first, "zone")
        ids.append(id_)
        names.append(table.text("name", id_ or "?"))
        doorways.append(table.flag("doorway", default=False))
        neighbours.append(table.texts("adjacent"))
        table.finish()
    pairs: set[tuple[str, str]] = set()
    for table, id_, adjacent in zip(tables, ids, neighbours, strict=True):
        for other in adjacent:
            if other == id_:
                table.note("adjacent", f'zone "{id_}" names itself', "name only its neighbours")
            elif other not in ids:
                table.note("adjacent", f'there is no zone "{other}"', _which_zone(other, ids))
            pairs |= {(id_, other), (other, id_)}
    return tuple(
        Zone(id_, name, frozenset(b for a, b in pairs if a == id_), doorway)
        for id_, name, doorway in zip(ids, names, doorways, strict=True)
    )


def _which_zone(word: str, ids: list[str]) -> str:
    return closest(word, ids, f"zones here: {', '.join(ids)}" if ids else "add it as [[zones]]")


def readers(tables: list[Table], zones: tuple[Zone, ...], check: ReaderCheck) -> tuple[Reader, ...]:
    """`[[readers]]`: what reads, and where."""
    first: dict[str, str] = {}
    ids = [zone.id for zone in zones]
    found = []
    for table in tables:
        id_, kind, zone = table.id("id"), table.text("type"), table.text("zone")
        _unique(table, id_, first, "reader")
        if zone and zone not in ids:
            table.note("zone", f'there is no zone "{zone}"', _which_zone(zone, ids))
        if kind == SELF_PUBLISHING:
            table.finish()
        reader = Reader(id_, kind, zone, _resolved(table.rest(), table.notes.folder))
        if kind not in ("", SELF_PUBLISHING):
            _check_reader(table, reader, check)
        found.append(reader)
    return tuple(found)


def _resolved(options: dict[str, object], folder: Path) -> dict[str, object]:
    path = options.get("path")
    if isinstance(path, str) and (folder / path).exists():
        return {**options, "path": str(folder / path)}
    return options


def _check_reader(table: Table, reader: Reader, check: ReaderCheck) -> None:
    if check.types and reader.type not in check.types:
        known = sorted({*check.types, SELF_PUBLISHING})
        repair = closest(reader.type, known, f"there are: {', '.join(known)}")
        table.note("type", f'there is no reader type "{reader.type}"', repair)
        return
    for each in check.problems(reader.table):
        key, _, problem = each.partition(": ")
        table.note(key, problem, "correct it, or take it out" if key in table else "add it to this reader")
