"""The README's reader works as it is printed."""

from __future__ import annotations

import re
import socket
import types
from pathlib import Path

import pytest

from devices.options import problems
from devices.registry import types as reader_types
from gateway.core.errors import ReaderError
from tests.rigs.watching import Watch, running

README = Path(__file__).resolve().parents[2] / "devices" / "readers" / "README.md"


@pytest.fixture
def example() -> types.ModuleType:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) <= 55
    module = types.ModuleType("example")
    exec(compile(blocks[0], str(README), "exec"), module.__dict__)
    return module


def test_the_example_reads_reports_its_loss_and_comes_back(example: types.ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = {"id": "desk", "zone": "desk", "host": "127.0.0.1", "port": server.getsockname()[1]}
        reader = example.build(settings)
        for text in ("K7Q2MX", "A8R3NY"):
            with running(reader) as watch:
                link, _ = server.accept()
                with link:
                    link.sendall(f"{text}\r\n".encode())
                    assert watch.wait_reads(1) == [{"payload": text}]
                watch.join()
            assert isinstance(watch.error, ReaderError)
    absent = Watch()
    absent.start(reader)
    absent.join()
    assert isinstance(absent.error, ReaderError)


def test_the_examples_options_are_checked(example: types.ModuleType) -> None:
    assert problems(example.OPTIONS, {"id": "desk", "host": 7, "port": 0}) == [
        "host: must be of type str",
        "port: must be from 1 to 65535",
    ]


def test_the_table_of_readers_names_each_with_its_options() -> None:
    import importlib

    text = README.read_text(encoding="utf-8")
    rows = {row[0]: row[1] for row in re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", text, re.MULTILINE)}
    assert set(rows) == set(reader_types())
    for kind, named in rows.items():
        options = importlib.import_module(f"devices.readers.{kind}").OPTIONS
        for option in options:
            assert f"`{option}`" in named or option == "allow_udp_for_tests"
