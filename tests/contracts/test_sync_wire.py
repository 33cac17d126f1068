"""The committed schema is the code's, and the code's events fit it; the README's example verifies a real batch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from jsonschema import Draft202012Validator

from gateway.core import chain
from gateway.core import events as ev
from gateway.core.events import TYPES, Event
from gateway.core.receipts import First, Outcome
from gateway.shell.keys import SigningKey
from gateway.testing import MemoryLog
from sync import batch, wire
from sync.outbox import Outbox
from tests.rigs import generated

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / ".." / "shared" / "contracts.md"
VALIDATOR = Draft202012Validator(wire.schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
SIGNING = SigningKey.from_seed(b"\x07" * 32)

NOT_YET = {
    "visit.item-added",
    "visit.late",
    "visit.merged",
    "visit.no-show",
    "visit.walked-out",
    "gap.declared",
    "person.erased",
}
"""In the contract, but nothing gives rise to them so far: take a name out when its class is there."""


def cloud_event(event: Event) -> dict[str, Any]:
    sealed = chain.seal(event, seq=1, prev_hash="0" * 64, store="milano-01", epoch="e1")
    body: dict[str, Any] = json.loads(sealed.body)
    return body


def test_the_committed_schema_is_current() -> None:
    assert wire.FILE.read_text(encoding="utf-8") == wire.text(), "run `python -m sync.wire`"


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(wire.schema())


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_event_fits(name: str) -> None:
    @given(generated.of(TYPES[name]))
    def fits(event: Event) -> None:
        body = cloud_event(event)
        body["subject"] = body["subject"] or "empty"  # no id is empty; generated ones may be
        VALIDATOR.validate(body)

    fits()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("data", "party_size"), "two"),
        (("data", "proof"), "sworn"),
        (("data", "reasons"), "because"),
        (("data", "abandon_at"), None),
        (("hash",), "short"),
        (("type",), "soglia.visit.imagined.v1"),
        (("sequence",), 0),
        (("time",), "2026-11-22T10:02:03"),
    ],
)
def test_control_what_is_wrong_does_not_fit(path: tuple[str, ...], value: object) -> None:
    at = datetime(2026, 11, 22, tzinfo=UTC)
    body = cloud_event(
        ev.VisitOpened(at=at, visit="v", match="known", reasons=("r",), zone="door", abandon_at=at)
    )
    VALIDATOR.validate(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert not VALIDATOR.is_valid(body)


def contract_names() -> set[str]:
    """`visit.opened` and so on, from the contract's own paragraph."""
    if not CONTRACT.exists():
        pytest.skip("the contract is not beside this checkout")
    section = CONTRACT.read_text(encoding="utf-8").split("## Event types in the log")[1].split("\n## ")[0]
    listed = section.split("All as `soglia.")[0]
    names: set[str] = set()
    group = ""
    for name in re.findall(r"`(?:soglia\.)?([a-z.-]+?)(?:\.v1)?`", listed):
        group = group if name.startswith(".") else name.split(".")[0]
        names.add(group + name if name.startswith(".") else name)
    return names


def test_the_contract_s_event_types_are_there() -> None:
    ours = {kind.name for kind in TYPES.values()}
    listed = contract_names()
    assert {"visit.opened", "appointment.moved", "reader.recovered", "clock.adjusted"} <= listed
    assert listed - ours <= NOT_YET
    assert set(TYPES) <= set(wire.schema()["$defs"])
    assert not NOT_YET & ours, "take it out of NOT_YET"
    assert [name for name in TYPES if "visit." in name and "opened" in name] == ["soglia.visit.opened.v1"]


def a_batch() -> dict[str, Any]:
    """As a client gets it: parsed from JSON."""
    log = MemoryLog("milano-01")
    at = datetime(2026, 11, 22, 10, tzinfo=UTC)
    for n in range(5):
        log.append(
            f"c{n}", b"", First(Outcome.ACCEPTED), [ev.ReaderLost(at=at, reader=f"tür-{n}", reason="\x01")]
        )
    log.commit()
    outbox = Outbox(log, b"k" * 32, SIGNING, log.move_cursor)  # type: ignore[arg-type]  # never acknowledged here
    pulled = outbox.pull(outbox.pull(None, 2)["next"], 500)
    return {**pulled, "events": [json.loads(body) for body in pulled["events"]]}


def test_a_batch_fits_its_schema() -> None:
    schema = {**wire.schema(), "$ref": "#/$defs/batch"}
    for ours in ("type", "properties", "required", "allOf"):
        del schema[ours]
    header = {**a_batch(), "events": []}
    Draft202012Validator(schema).validate(header)
    del header["signature"]
    assert not Draft202012Validator(schema).is_valid(header)


def example() -> str:
    (code,) = re.findall(
        r"^```python\n(import base64.*?)^```",
        (ROOT / "sync" / "README.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert isinstance(code, str)
    return code


def run_example(tmp_path: Path, pulled: dict[str, Any], *last: str) -> subprocess.CompletedProcess[str]:
    program, file = tmp_path / "verify.py", tmp_path / "batch.json"
    program.write_text(example(), encoding="utf-8")
    file.write_text(json.dumps(pulled, indent=2), encoding="utf-8")
    key = batch.base64url(SIGNING.public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return subprocess.run(
        [sys.executable, "-I", str(program), str(file), key, *last],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )


def test_the_readme_s_example_verifies_a_batch(tmp_path: Path) -> None:
    pulled = a_batch()
    done = run_example(tmp_path, pulled, "2", pulled["prev_hash"])
    assert (done.returncode, done.stdout) == (0, f"5 {pulled['hash']}\n"), done.stderr
    assert run_example(tmp_path, pulled).returncode == 0


def test_control_the_readme_s_example_notices_a_forgery(tmp_path: Path) -> None:
    pulled = a_batch()
    assert "does not follow" in run_example(tmp_path, pulled, "1", pulled["prev_hash"]).stderr
    pulled["events"][1]["data"]["reader"] = "door-9"
    assert "event 4 was changed" in run_example(tmp_path, pulled).stderr
    pulled["count"] = 2
    assert "InvalidSignature" in run_example(tmp_path, pulled).stderr
