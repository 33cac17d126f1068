"""The house rules of the source tree, read from its syntax trees; each is shown to find what breaks it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("gateway", "devices", "sync")
LONGEST = 400  # lines of a module; from 300 on it is worth a look
FORBIDDEN_NAMES = {"manager", "helper", "helpers", "utils", "util", "data", "info", "process"}
WIRING = {"gateway.bootstrap", "gateway.cli"}
PAHO = {"gateway.shell.mqtt_connection"}

# package -> the packages of ours that its modules may import; the longest name that fits counts
MAY_IMPORT = {
    "gateway.core": {"gateway.core"},
    "gateway.shell": {"gateway.core", "gateway.shell"},
    "gateway.api": {"gateway.core", "gateway.shell", "gateway.api", "gateway.web"},
    "gateway.web": {"gateway.web"},
    "devices": {"gateway.core", "devices"},
    "sync": {"gateway.core", "gateway.shell", "sync"},
}
IMPURE_MODULES = {
    "time",
    "random",
    "os",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "asyncio",
    "sqlite3",
}
IMPURE_NAMES = {"open", "input", "print"}
IMPURE_ATTRIBUTES = {"now", "utcnow", "today", "environ", "urandom", "read_text", "write_text"}


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, its text and its syntax tree."""

    name: str
    text: str
    tree: ast.Module

    def imports(self) -> Iterator[str]:
        """The dotted names of what it imports, at any depth of nesting."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name} imports relatively"
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def inside(self, package: str) -> bool:
        return self.name == package or self.name.startswith(package + ".")


def modules(root: Path) -> list[Module]:
    found = []
    for package in OURS:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            text = path.read_text()
            found.append(Module(name, text, ast.parse(text, str(path))))
    return found


def wrong_direction(module: Module) -> Iterator[str]:
    """Core imports nothing of ours; devices, sync and api never import each other."""
    package = max((p for p in MAY_IMPORT if module.inside(p)), key=len, default=None)
    if package is None:
        return
    for name in module.imports():
        allowed = any(name == p or name.startswith(p + ".") for p in MAY_IMPORT[package])
        if name.split(".")[0] in OURS and not allowed:
            yield f"{module.name} imports {name}"


def outside_the_library(module: Module) -> Iterator[str]:
    """The core lives on the standard library alone."""
    if module.inside("gateway.core"):
        for name in module.imports():
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and not name.startswith("gateway.core"):
                yield f"{module.name} imports {name}"


def impure(module: Module) -> Iterator[str]:
    """The core has no clock, no randomness, no environment and no I/O: all that comes in with the command."""
    if not module.inside("gateway.core"):
        return
    for name in module.imports():
        if name.split(".")[0] in IMPURE_MODULES:
            yield f"{module.name} imports {name}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name) and node.id in IMPURE_NAMES:
            yield f"{module.name}:{node.lineno} {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in IMPURE_ATTRIBUTES:
            yield f"{module.name}:{node.lineno} .{node.attr}"


def paho_elsewhere(module: Module) -> Iterator[str]:
    """MQTT's library is known in one place."""
    if module.name not in PAHO and any(name.split(".")[0] == "paho" for name in module.imports()):
        yield f"{module.name} imports paho"


def imports_tests(module: Module) -> Iterator[str]:
    """What is shipped does not need its tests."""
    yield from (f"{module.name} imports {n}" for n in module.imports() if n.split(".")[0] == "tests")


def too_long(module: Module) -> Iterator[str]:
    """A module is one noun."""
    if (lines := module.text.count("\n")) > LONGEST:
        yield f"{module.name} has {lines} lines"


def says_nothing(module: Module) -> Iterator[str]:
    """Names say what a module is about."""
    yield from (f"{module.name}" for part in module.name.split(".") if part in FORBIDDEN_NAMES)


def undocumented(module: Module) -> Iterator[str]:
    """What others may use says what it does: modules, and their public functions and classes."""
    if module.text and not ast.get_docstring(module.tree):
        yield f"{module.name} itself"
    for node in module.tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if not node.name.startswith("_") and not ast.get_docstring(node):
            yield f"{module.name}.{node.name}"


Rule = Callable[[Module], Iterator[str]]
RULES: list[Rule] = [
    wrong_direction,
    outside_the_library,
    impure,
    paho_elsewhere,
    imports_tests,
    too_long,
    says_nothing,
    undocumented,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_rule_holds(rule: Rule) -> None:
    assert [broken for module in modules(ROOT) for broken in rule(module)] == []


def test_the_whole_house_is_looked_at() -> None:
    names = {module.name for module in modules(ROOT)}
    assert {"gateway.core.decide", "gateway.shell.engine", "devices.supervisor", "sync.outbox"} <= names
    assert names >= WIRING


DOC = '"""About it."""\n'
BROKEN = [
    (wrong_direction, "gateway/core/decide.py", DOC + "from gateway.shell.engine import Engine"),
    (wrong_direction, "gateway/core/decide.py", DOC + "from gateway import shell"),
    (wrong_direction, "gateway/shell/engine.py", DOC + "import sync.outbox"),
    (wrong_direction, "gateway/shell/engine.py", DOC + "def later():\n    from gateway.api import app"),
    (wrong_direction, "gateway/api/reads.py", DOC + "from devices.decoders import qr"),
    (wrong_direction, "devices/reader.py", DOC + "from gateway.shell import inbox"),
    (wrong_direction, "sync/batch.py", DOC + "import devices"),
    (outside_the_library, "gateway/core/model.py", DOC + "from pydantic import BaseModel"),
    (impure, "gateway/core/decide.py", DOC + "import time"),
    (impure, "gateway/core/decide.py", DOC + "from os import environ"),
    (impure, "gateway/core/decide.py", DOC + "x = datetime.now(UTC)"),
    (impure, "gateway/core/decide.py", DOC + "def f():\n    return open('x')"),
    (paho_elsewhere, "sync/outbox.py", DOC + "import paho.mqtt.client"),
    (imports_tests, "gateway/testing.py", DOC + "from tests.rigs import cards"),
    (too_long, "devices/reader.py", DOC + "\n" * 400),
    (says_nothing, "gateway/shell/utils.py", DOC),
    (says_nothing, "sync/data/feed.py", DOC),
    (undocumented, "sync/batch.py", "x = 1\n"),
    (undocumented, "sync/batch.py", DOC + "def pack():\n    pass"),
    (undocumented, "gateway/core/model.py", DOC + "class Visit:\n    pass"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_what_breaks_a_rule_is_found(rule: Rule, path: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    (module,) = modules(tmp_path)
    assert list(rule(module)), f"{rule.__name__} does not see it"


def test_a_good_module_breaks_nothing(tmp_path: Path) -> None:
    file = tmp_path / "gateway" / "core" / "decide.py"
    file.parent.mkdir(parents=True)
    file.write_text(DOC + "from datetime import datetime\nfrom gateway.core.model import Visit\n_x = 1\n")
    (module,) = modules(tmp_path)
    assert [broken for rule in RULES for broken in rule(module)] == []


def test_every_rule_has_something_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_only_modules_of_the_wiring_know_all_parts() -> None:
    """Whoever imports devices, sync and the API together is part of the wiring, and is listed here."""
    together = set()
    for module in modules(ROOT):
        parts = {re.sub(r"^gateway\.(\w+).*", r"\1", name).split(".")[0] for name in module.imports()}
        if {"devices", "sync", "api"} <= parts:
            together.add(module.name)
    assert together <= WIRING
