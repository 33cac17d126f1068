"""The documents say what is so: their links lead somewhere, their commands exist, their words are in the code."""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", ".demo", ".git"} & set(path.relative_to(ROOT).parts)
)
PATH = re.compile(r"`((?:gateway|devices|sync|config|tests|systemd)/[\w./*-]+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
COMMAND = re.compile(r"\bsoglia ((?:[a-z-]+ ?){1,2})")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_at_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    missing = [name for name in PATH.findall(text) if not list(ROOT.glob(name.rstrip("/")))]
    missing += [name for name in LINK.findall(text) if not (document.parent / name).exists()]
    assert missing == []


def test_every_command_the_readme_shows_exists() -> None:
    readme = (ROOT / "README.md").read_text("utf-8").partition("## What is not there yet")[0]
    shown = {words.strip() for words in COMMAND.findall(readme)}
    assert {"run", "explain", "broker export"} <= {_known(words) for words in shown}
    for words in shown:
        assert _known(words), f"README shows `soglia {words}`"


def _known(words: str) -> str | None:
    """The longest beginning of `words` that the command line knows."""
    parts = words.split()
    for length in (2, 1):
        asked = [sys.executable, "-m", "gateway.cli", *parts[:length], "--help"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
        if len(parts) >= length and done.returncode == 0:
            return " ".join(parts[:length])
    return None


def test_the_control_an_unknown_command_is_found() -> None:
    assert _known("levitate") is None


def test_the_readme_begins_with_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^make (\w+)", readme, re.MULTILINE)[:2] == ["run", "test"]
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"setup", "run", "test", "bench", "faults", "fuzz"} <= set(targets)


def test_the_licences_that_matter_are_named() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "Apache-2.0" in readme
    assert "EUPL" in readme
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_lock_has_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    packages = re.findall(r"^[a-z0-9-]+==\S+", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[a-z0-9-]+==)", lock, flags=re.MULTILINE)[1:]
    assert len(packages) == len(blocks) > 30
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


GLOSSARY = re.findall(
    r"^\| \*\*(.+?)\*\* \| `([\w.]+)` \|", (ROOT / "gateway" / "GLOSSARY.md").read_text(), re.MULTILINE
)


@pytest.mark.parametrize(("word", "place"), GLOSSARY, ids=[word for word, _ in GLOSSARY])
def test_a_word_of_the_glossary_is_in_the_code(word: str, place: str) -> None:
    assert _found(place), f"{word}: there is no {place}"


def test_the_glossary_has_the_words_of_the_house() -> None:
    words = {word for word, _ in GLOSSARY}
    assert {
        "Reader",
        "Read",
        "Credential",
        "Sighting",
        "Visit",
        "Alert",
        "Receipt",
        "Epoch",
        "Batch",
    } <= words
    assert not _found("gateway.core.model.Manager")  # the control


def _found(place: str) -> bool:
    try:
        pkgutil.resolve_name(place)
    except (ImportError, AttributeError):
        return False
    return True
