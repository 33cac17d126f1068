"""Reading a TOML table key by key: each question says what is expected, and every wrong answer is noted.

Nothing is raised while reading, so that an installer sees all problems at once. A question about a key that
is absent or wrong is answered with its default; the caller drops the result when problems were noted.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from gateway import toml_lines
from gateway.core.model import is_id


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with `key`, a path such as `readers[0].zone`, on `line` (None: nowhere in the file), and
    the `repair`. Neither text repeats a secret."""

    key: str
    line: int | None
    problem: str
    repair: str


def closest(word: str, choices: Iterable[str], otherwise: str) -> str:
    """A repair: `did you mean "door"?` where one of `choices` is near, else `otherwise`."""
    near = difflib.get_close_matches(word, list(choices), n=1)
    return f'did you mean "{near[0]}"?' if near else otherwise


def listed(choices: Iterable[str]) -> str:
    """`"a", "b" or "c"`."""
    *most, last = [f'"{choice}"' for choice in choices]
    return f"{', '.join(most)} or {last}" if most else last


class Notes:
    """The problems found so far in one file."""

    def __init__(self, lines: Mapping[str, int], folder: Path) -> None:
        self.folder = folder  # what relative paths are relative to
        self._lines = lines
        self._problems: list[Problem] = []

    def line(self, path: str) -> int | None:
        """The line of `path`, or of the nearest table around it that is in the file."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return None

    def add(self, path: str, problem: str, repair: str, line_of: str | None = None) -> None:
        """Note a problem with `path`; `line_of` is where it stands when `path` only names its table."""
        self._problems.append(Problem(path, self.line(line_of or path), problem, repair))

    def problems(self) -> tuple[Problem, ...]:
        """In the order of the file."""
        return tuple(sorted(self._problems, key=lambda each: each.line or 0))


class Table:
    """One table of the file. Call `finish` after the last question: it notes the keys nobody asked for."""

    def __init__(self, values: Mapping[str, object], path: str, notes: Notes) -> None:
        self.path = path
        self.notes = notes
        self._values = values
        self._asked: dict[str, None] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def at(self, key: str) -> str:
        """The path of `key`."""
        return toml_lines.join(self.path, key)

    def note(self, key: str, problem: str, repair: str) -> None:
        """Something is wrong with `key`."""
        self.notes.add(self.at(key), problem, repair)

    def text(self, key: str, default: str | None = None) -> str:
        """Text that is not empty; required when there is no default."""
        found = self.maybe_text(key)
        if found is None and default is None and key not in self._values:
            self.note(key, "is missing", f'add {key} = "…"')
        return found or default or ""

    def maybe_text(self, key: str) -> str | None:
        value = self._ask(key)
        if value is None:
            return None
        if isinstance(value, str) and value.strip():
            return value
        self.note(key, _not("text", value) if value != "" else "is empty", f'write {key} = "…"')
        return None

    def id(self, key: str, default: str | None = None) -> str:
        """An id; see `gateway.core.model.is_id`."""
        found = self.text(key, default)
        if found and not is_id(found):
            self.note(key, "cannot be used as an id", "use at most 128 letters, digits and . _ : -")
            return ""
        return found

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """One of `choices`."""
        found = self.text(key, default)
        if found not in choices:
            self.note(key, f'"{found}" is not known here', closest(found, choices, f"use {listed(choices)}"))
            return default
        return found

    def number(self, key: str, default: float, most: float) -> float:
        """A number above 0, `most` included."""
        value = self._ask(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.note(
                key, _not("a number", value), f"write it without quotes, for example {key} = {default:g}"
            )
        elif not 0 < value <= most:
            self.note(key, f"{value} is out of range", f"use a number above 0 and up to {most:g}")
        else:
            return value
        return default

    def port(self, key: str) -> int | None:
        """A port to listen on; 0 asks for any free one."""
        value = self._ask(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.note(
                key, _not("a whole number", value), f"write it without quotes, for example {key} = 8123"
            )
        elif not 0 <= value <= 65535:
            self.note(key, f"there is no port {value}", "use 1 to 65535, or 0 for any free port")
        else:
            return value
        return None

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._ask(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.note(key, _not("true or false", value), f"write {key} = true or {key} = false, without quotes")
        return default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, maybe empty."""
        value = self._ask(key)
        if value is None:
            return ()
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        self.note(key, _not("a list of texts", value), f'write {key} = ["…", "…"]')
        return ()

    def file(self, key: str, *, secret: bool = False) -> Path | None:
        """The path of a file that exists and can be read; one with a secret must be closed to others."""
        name = self.maybe_text(key)
        if name is None:
            return None
        path = self.notes.folder / name
        try:
            mode = path.stat().st_mode
        except OSError as error:
            why = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be looked at"
            self.note(key, f"the file {path} {why}", "put it there, or correct the path")
            return None
        if not stat.S_ISREG(mode):
            self.note(key, f"{path} is not a file", "correct the path")
        elif not os.access(path, os.R_OK):
            self.note(key, f"the file {path} cannot be read", "let the user that runs soglia own it")
        elif secret and mode & stat.S_IRWXO:
            self.note(key, f"the file {path} is open to every user of this machine", f"run: chmod 600 {path}")
        elif secret and not path.read_bytes().strip():
            self.note(key, f"the file {path} is empty", "write the secret into it")
        else:
            return path
        return None

    def url(self, key: str, schemes: Collection[str]) -> str | None:
        """An address with one of `schemes` and a host; no password may be in it, no problem repeats it."""
        found = self.maybe_text(key)
        if found is None:
            return None
        parts = split_url(found)
        allowed = listed(f"{scheme}://" for scheme in schemes)
        if parts is None or parts.scheme not in schemes or not parts.hostname:
            self.note(key, "is not an address we can use", f"begin it with {allowed} and a host name")
        elif parts.username is not None or parts.password is not None:
            self.note(
                key, "the address carries a user name or a password", "take it out: secrets go into files"
            )
        else:
            return found
        return None

    def table(self, key: str) -> Table:
        """The table `[path.key]`; an absent one is empty."""
        value = self._ask(key)
        if value is None or isinstance(value, dict):
            return Table(value or {}, self.at(key), self.notes)
        self.note(key, _not("a table", value), f"write [{self.at(key)}] once, and its keys below it")
        return Table({}, self.at(key), self.notes)

    def tables(self, key: str) -> list[Table]:
        """The tables `[[path.key]]`, in order."""
        value = self._ask(key)
        if value is None:
            return []
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            path = self.at(key)
            return [Table(each, toml_lines.join(path, n), self.notes) for n, each in enumerate(value)]
        self.note(
            key, _not("a list of tables", value), f"write [[{self.at(key)}]] with two brackets for each"
        )
        return []

    def rest(self) -> dict[str, object]:
        """The keys nobody asked for, taken as they are."""
        found = {key: value for key, value in self._values.items() if key not in self._asked}
        self._asked.update(dict.fromkeys(found))
        return found

    def people(self) -> dict[str, str]:
        """The whole table as address = id. No problem repeats an address: they are people's."""
        found: dict[str, str] = {}
        for key, value in self.rest().items():
            if isinstance(value, str) and is_id(value):
                found[key] = value
            else:
                self.notes.add(
                    self.path, "this entry does not lead to an id", 'write "address" = "id"', self.at(key)
                )
        return found

    def finish(self) -> None:
        known = list(self._asked)
        for key in self._values:
            if key not in self._asked:
                allowed = (
                    f"known here: {', '.join(known)}" if known else "nothing can be set here yet: take it out"
                )
                self.note(key, "is not a known key", closest(key, known, allowed))

    def _ask(self, key: str) -> object | None:
        self._asked[key] = None
        return self._values.get(key)


def split_url(text: str) -> SplitResult | None:
    """The parts of an address, or None when its host or port makes no sense."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for a port that is no number, or out of range
    except ValueError:
        return None
    return parts if not any(each.isspace() for each in text) else None


def _not(wanted: str, value: object) -> str:
    found = {
        str: "text",
        bool: "true or false",
        list: "a list",
        dict: "a table",
        int: "a number",
        float: "a number",
    }
    return f"must be {wanted}, not {found.get(type(value), 'a date or time')}"
