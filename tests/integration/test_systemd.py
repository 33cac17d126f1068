"""The service's unit, judged by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "soglia.service"
VERSION = 250  # the first that judges a unit without installing it


def version() -> int:
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"\d+", said)
    return int(found[0]) if found else 0


needs_systemd = pytest.mark.skipif(version() < VERSION, reason=f"no systemd-analyze {VERSION} or later here")


def analyze(unit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments, str(unit)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a program that exists on every machine."""
    found = tmp_path / "soglia.service"
    found.write_text(UNIT.read_text().replace("/opt/soglia/bin/soglia", shutil.which("true") or "/bin/true"))
    return found


@needs_systemd
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path) -> None:
    done = analyze(unit, "verify", "--man=no")
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_would_find_what_is_wrong(unit: Path) -> None:
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=sometimes"))
    assert "restart specifier" in analyze(unit, "verify", "--man=no").stderr


@needs_systemd
def test_the_unit_is_hardened(unit: Path) -> None:
    assert analyze(unit, "security", "--offline=true", "--threshold=20", "--no-pager").returncode == 0
    bare = "\n".join(line for line in unit.read_text().splitlines() if re.match(r"\[|Exec|Type", line))
    unit.write_text(bare)
    assert analyze(unit, "security", "--offline=true", "--threshold=20", "--no-pager").returncode != 0
