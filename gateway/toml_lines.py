"""Where each key of a TOML document stands, because `tomllib` gives values without lines.

`tomllib` must have accepted the text already: this scanner follows its structure and does not judge it.

    [[readers]]                 readers[0]          1
    id = "door"                 readers[0].id       2
    colours = [                 readers[0].colours  3
      { name = "red" },         readers[0].colours[0].name  4
    ]
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r'(?P<text>"{3}(?:\\.|[^\\])*?"{3,5}|\'{3}.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<skip>#[^\n]*|[ \t\r]+)"
    r"|(?P<newline>\n)"
    r"|(?P<mark>\[\[|\]\]|[\[\]{}=,.])"
    r"|(?P<bare>[^\s\[\]{}=,.#\"']+)",
    re.DOTALL,
)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # text, newline, mark or bare
    text: str
    line: int


def join(path: str, key: str | int) -> str:
    """The path of `key` (a name, or an index into an array) below `path`; odd names are quoted."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    name = key if _BARE_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{name}" if path else name


def lines(text: str) -> dict[str, int]:
    """The line (from 1) on which each key path is first written, tables and array elements included."""
    return _Scanner(text).document()


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "skip":
            yield _Token(kind, match.group(), line)
        line += match.group().count("\n")
    yield _Token("newline", "\n", line)


class _Scanner:
    """A recursive descent over the tokens that keeps paths and forgets values."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._found: dict[str, int] = {}
        self._tables: dict[str, int] = {}  # array of tables -> its latest index

    def document(self) -> dict[str, int]:
        here = ""
        while self._next < len(self._tokens):
            token = self._tokens[self._next]
            if token.kind == "newline":
                self._next += 1
            elif token.text in ("[", "[["):
                here = self._header(many=token.text == "[[")
            else:
                self._pair(here)
        return self._found

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _header(self, *, many: bool) -> str:
        line = self._take().line
        keys = self._keys()
        self._take()
        path = ""
        for depth, key in enumerate(keys):
            path = join(path, key)
            if many and depth == len(keys) - 1:
                self._tables[path] = self._tables.get(path, -1) + 1
            if path in self._tables:
                self._note(path, line)
                path = join(path, self._tables[path])
            self._note(path, line)
        return path

    def _keys(self) -> list[str]:
        keys = [self._key()]
        while self._peek().text == "." and self._peek().kind == "mark":
            self._take()
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        token = self._take()
        if token.kind != "text":
            return token.text
        return (
            str(json.loads(token.text))
            if token.text[0] == '"' and "\\U" not in token.text
            else token.text[1:-1]
        )

    def _pair(self, here: str) -> None:
        line = self._peek().line
        path = here
        for key in self._keys():
            path = join(path, key)
            self._note(path, line)
        self._take()  # the equals sign
        self._value(path)

    def _value(self, path: str) -> None:
        token = self._peek()
        if token.kind == "mark" and token.text in ("[", "[["):
            self._array(path)
        elif token.text == "{" and token.kind == "mark":
            self._inline_table(path)
        else:
            while not self._ends_value(self._peek()):
                self._take()

    @staticmethod
    def _ends_value(token: _Token) -> bool:
        return token.kind == "newline" or (token.kind == "mark" and token.text in (",", "]", "]]", "}"))

    def _array(self, path: str) -> None:
        self._split("[[")
        self._take()
        index = 0
        while True:
            self._split("]]")
            token = self._peek()
            if token.kind == "mark" and token.text == "]":
                self._take()
                return
            if token.kind == "newline" or token.text == ",":
                self._take()
                continue
            element = join(path, index)
            self._note(element, token.line)
            self._value(element)
            index += 1

    def _inline_table(self, path: str) -> None:
        self._take()
        while self._peek().text != "}" or self._peek().kind != "mark":
            if self._peek().kind == "newline" or self._peek().text == ",":
                self._take()
            else:
                self._pair(path)
        self._take()

    def _split(self, double: str) -> None:
        """Inside a value `[[` and `]]` are two brackets, not a header's."""
        token = self._peek()
        if token.kind == "mark" and token.text == double:
            single = _Token("mark", double[0], token.line)
            self._tokens[self._next : self._next + 1] = [single, single]

    def _note(self, path: str, line: int) -> None:
        self._found.setdefault(path, line)
