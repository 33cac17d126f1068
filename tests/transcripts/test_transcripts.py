"""Plays every story in this folder: `pytest tests/transcripts --rewrite` writes down what they say now."""

import difflib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transcripts.story import Story

HERE = Path(__file__).parent
STORIES = sorted(HERE.glob("*.txt"))
RULE = "----"


def played(text: str) -> Iterator[str]:
    """The story's lines, with each block's answers as the core gives them now."""
    story = Story()
    lines = iter(text.splitlines())
    orders: list[str] = []
    for line in lines:
        yield line
        if line == RULE:
            for order in orders:
                yield from story.obey(order)
            orders = []
            for old in lines:  # what it answered so far, up to the empty line
                if not old:
                    yield old
                    break
        elif line and not line.startswith("#"):
            orders.append(line)
    assert not orders, f"these orders have no {RULE} below them: {orders}"
    story.check()


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path, request: pytest.FixtureRequest) -> None:
    told = path.read_text()
    now = "\n".join(played(told)) + "\n"
    if request.config.getoption("rewrite"):
        path.write_text(now)
        return
    difference = difflib.unified_diff(
        told.splitlines(), now.splitlines(), "as told", "as it is now", lineterm=""
    )
    assert told == now, "\n".join(difference)


def test_there_are_stories() -> None:
    assert len(STORIES) >= 20


def test_a_story_that_tells_something_else_is_found() -> None:
    told = "read nfc card=nobody\n----\nrecord-read accepted\n  visit.opened visit-1\n"
    assert "read.unmatched" in "\n".join(played(told))


def test_orders_without_an_answer_are_found() -> None:
    with pytest.raises(AssertionError, match="no ---- below"):
        list(played("read nfc card=nobody\n"))
