"""The configuration file, as typed settings: `load` gives all of it, checked, or every problem at once.

The tables are those of `config/store.example.toml`, which says what each key means. Paths in the file are
relative to its folder. Secrets are never in the file, only the paths of files that hold them (`secret`).

What a reader needs beside `id`, `type` and `zone` belongs to its type, so the caller gives the check: a
function of the reader's whole table that gives `key: what is wrong` for each problem. Readers of type `mqtt`
publish by themselves; they have no other keys and are not given to the check.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path

from gateway import settings_floor as floor
from gateway import settings_tables as tables
from gateway import toml_lines
from gateway.core.errors import SogliaError
from gateway.core.model import Rules
from gateway.settings_floor import CheckReader, ReaderCheck
from gateway.settings_model import (
    Api,
    Broker,
    CalCom,
    Calendar,
    Platform,
    Reader,
    Settings,
    Store,
    Tokens,
    Zone,
)
from gateway.toml_table import Notes, Problem, Table

__all__ = [
    "Api",
    "Broker",
    "CalCom",
    "Calendar",
    "CheckReader",
    "ConfigError",
    "Platform",
    "Problem",
    "Reader",
    "Settings",
    "Store",
    "Tokens",
    "Zone",
    "load",
    "rules",
    "secret",
]


class ConfigError(SogliaError):
    """The configuration cannot be used; `problems` are all of them, in the order of the file."""

    def __init__(self, path: Path, problems: tuple[Problem, ...]) -> None:
        self.path = path
        self.problems = problems
        super().__init__("config-invalid", "\n".join(self.lines(path)))

    def lines(self, path: Path | str) -> list[str]:
        """One line each: `store.toml:12  readers[0].zone  there is no zone "dor"; did you mean "door"?`"""
        return [
            "  ".join(filter(None, (f"{path}:{each.line}" if each.line else str(path), each.key, text)))
            for each in self.problems
            for text in [f"{each.problem}; {each.repair}"]
        ]

    def __str__(self) -> str:
        return self.detail


def load(path: Path | str, check_reader: CheckReader, reader_types: Collection[str] = ()) -> Settings:
    """Read and check the configuration. With `reader_types` a misspelt type gets a suggestion.

    Raises:
        ConfigError: with every problem that was found.
    """
    path = Path(path).absolute()
    text, values = _parse(path)
    notes = Notes(toml_lines.lines(text), path.parent)
    settings = _settings(path, Table(values, "", notes), ReaderCheck(check_reader, reader_types))
    if problems := notes.problems():
        raise ConfigError(path, problems)
    return settings


def rules(settings: Settings) -> Rules:
    """The store's times, for the core."""
    return settings.rules


def secret(path: Path) -> str:
    """The secret in a file that `load` accepted, without the newline that editors add."""
    return path.read_text("utf-8").strip()


def _parse(path: Path) -> tuple[str, dict[str, object]]:
    def wrong(line: int | None, problem: str, repair: str) -> ConfigError:
        return ConfigError(path, (Problem("", line, problem, repair),))

    try:
        text = path.read_bytes().decode("utf-8")
        return text.replace("\r\n", "\n"), tomllib.loads(text)
    except FileNotFoundError:
        raise wrong(None, "there is no such file", "start from config/store.example.toml") from None
    except OSError as error:
        raise wrong(
            None, f"cannot be read ({error.strerror})", "check the path and who owns the file"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise wrong(line, "is not UTF-8 text", "save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).partition(" (at ")
        found = re.search(r"line (\d+)", where)
        line = int(found[1]) if found else text.count("\n") + 1
        raise wrong(line, f"is not TOML: {what[:1].lower()}{what[1:]}", "correct this line") from error


def _settings(path: Path, root: Table, check: ReaderCheck) -> Settings:
    store = tables.store(root.table("store"))
    zones = floor.zones(root.tables("zones"))
    api = tables.api(root.table("api"))
    settings = Settings(
        path=path,
        store=store,
        data_dir=tables.data_dir(root.table("data")),
        broker=tables.broker(root.table("broker"), api),
        api=api,
        rules=tables.rules(root.table("matching"), root.table("escalation"), store),
        zones=zones,
        readers=floor.readers(root.tables("readers"), zones, check),
        calendars=tuple(tables.calendar(each) for each in root.tables("calendars")),
        calcom=tables.calcom(root.table("webhooks")),
        platform=tables.platform(root.table("platform")) if "platform" in root else None,
        tokens=tables.tokens(root.table("tokens"), api.public_url),
        log_level=tables.log_level(root.table("log")),
    )
    root.table("retention").finish()
    root.finish()
    return settings
