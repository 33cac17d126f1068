"""The daemon as a program: how it starts, refuses to start, is asked for things, and ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from tests.rigs.daemon import ROOT, Daemon, appointment, clerk, opened, visitor
from tests.rigs.station import Told

SOGLIA = Path(sys.executable).with_name("soglia")
BACKUP, POOL, MANAGER = 2.0, 3.0, 4.0
QUICK = f"""
[escalation]
delivered_seconds = 1
backup_seconds = {BACKUP:g}
pool_seconds = {POOL:g}
manager_seconds = {MANAGER:g}
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A store of this test's alone, with short escalation times; not started."""
    with opened(Daemon(tmp_path, more=QUICK)) as daemon:
        yield daemon


def ended(daemon: Daemon, code: int) -> str:
    """How a daemon that cannot start ends; what it says."""
    assert daemon.spawn().wait(30) == code, daemon.said
    return daemon.said


def test_a_wrong_configuration_ends_with_2_and_every_problem(daemon: Daemon) -> None:
    good = daemon.config.read_text()
    bad = good.replace('zone = "door"', 'zone = "dor"').replace('type = "mqtt"', 'type = "telepathy"', 1)
    daemon.config.write_text(bad.replace("backup_seconds = 2", "backup_secs = 2") + "\n[colours]\n")
    said = ended(daemon, 2)
    for key in ("zone", "telepathy", "backup_secs", "colours"):
        assert key in said, said
    assert "Traceback" not in said
    checked = subprocess.run(
        [SOGLIA, "config", "check", daemon.config], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 2
    assert sorted(checked.stderr.splitlines()) == sorted(said.splitlines())
    daemon.config.write_text(good)
    assert subprocess.run([SOGLIA, "config", "check", daemon.config], check=False).returncode == 0


def test_the_problems_of_a_configuration_as_json(daemon: Daemon) -> None:
    daemon.config.write_text('[store]\nid = "a b"\n')
    command = [str(SOGLIA), "config", "check", str(daemon.config), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    found = {each["key"]: each["line"] for each in json.loads(done.stdout)["problems"]}
    assert found["store.id"] == 2
    assert set(found) >= {"store.id", "store.time_zone", "data.dir"}


def test_a_configuration_that_is_not_there_or_not_toml(daemon: Daemon) -> None:
    daemon.config.write_text("[store\n")
    assert "Traceback" not in ended(daemon, 2)
    daemon.config.unlink()
    assert "Traceback" not in ended(daemon, 2)


def test_unusable_arguments_end_with_2() -> None:
    for arguments in (["run"], ["nonsense"], ["token", "issue"]):
        ran = subprocess.run([SOGLIA, *arguments], capture_output=True, check=False)
        assert ran.returncode == 2, arguments


def test_a_second_daemon_is_refused_and_the_first_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    daemon.start()
    second = Daemon(tmp_path / "second", data=daemon.data)
    said = ended(second, 1)
    assert f"rocess {daemon.child.pid}" in said
    assert "data-dir-in-use" in said
    assert "Traceback" not in said
    assert daemon.http(None).get("/healthz").status_code == 200
    assert json.loads((daemon.data / "run.json").read_text())["pid"] == daemon.child.pid


def test_a_port_that_is_taken_is_named(daemon: Daemon, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        one = Daemon(tmp_path / "api", more=f"[api]\nport = {port}\n")
        said = ended(one, 1)
        assert str(port) in said
        assert "Traceback" not in said
        other = Daemon(tmp_path / "mqtt", broker=f"[broker]\nport = {port}\n")
        said = ended(other, 1)
        assert str(port) in said
        assert "Traceback" not in said


def test_run_json_is_the_last_step_and_goes_with_the_daemon(daemon: Daemon) -> None:
    daemon.issue("operator")
    daemon.start()
    ready = daemon.http("operator").get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True), "ready means ready"
    assert set(daemon.run) >= {"api", "mqtt", "pid"}
    assert (daemon.data / "run.json").stat().st_mode & 0o777 == 0o600
    assert daemon.stop() == 0
    assert not (daemon.data / "run.json").exists()
    daemon.start()
    daemon.kill()
    assert (daemon.data / "run.json").exists(), "nobody could take it away"
    daemon.spawn()
    while (daemon.data / "run.json").exists() and not daemon.ready:
        time.sleep(0.001)
    assert not (daemon.data / "run.json").exists() or daemon.ready, "not for long"
    daemon.wait_ready()


def test_ctrl_c_is_an_orderly_end(daemon: Daemon) -> None:
    daemon.start()
    daemon.child.send_signal(signal.SIGINT)
    assert daemon.child.wait(20) == 0
    assert "Traceback" not in daemon.said


def test_the_broker_s_port_stays_and_nothing_of_it_survives_a_kill(daemon: Daemon) -> None:
    daemon.start()
    address, broker = daemon.run["mqtt"], daemon.broker_pid()
    daemon.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{broker}/exe").exists():
        assert time.monotonic() < deadline, "the broker outlives its gateway"
        time.sleep(0.01)
    daemon.start()
    assert daemon.run["mqtt"] == address


def test_a_revoked_token_cuts_its_bearer_off(daemon: Daemon) -> None:
    daemon.issue("clerk:marco", "clerk:giulia", "operator")
    daemon.start()
    marco, giulia = daemon.station("clerk:marco"), daemon.station("clerk:giulia")
    http = daemon.http("clerk:marco")
    assert http.get("/api/v1/agenda").status_code == 200
    daemon.soglia("token", "revoke", daemon.token_ids["clerk:marco"])
    answer = http.get("/api/v1/agenda")
    assert (answer.status_code, answer.json()["reason"]) == (401, "token-revoked")
    assert marco.lost.wait(20)
    assert marco.refused.wait(20)
    assert not giulia.lost.is_set()
    assert daemon.http("clerk:giulia").get("/api/v1/agenda").status_code == 200
    assert daemon.soglia("token", "revoke", "tok-nobody", expect=1).json["error"]


def test_a_token_that_has_expired_is_worth_nothing(daemon: Daemon) -> None:
    told = daemon.soglia("token", "issue", "--scope", "operator", "--expires", "1s").json
    daemon.tokens["operator"] = told["token"]
    daemon.start()
    client, deadline = daemon.http("operator"), time.monotonic() + 20
    while (answer := client.get("/metrics")).status_code == 200:
        assert time.monotonic() < deadline
    assert (answer.status_code, answer.json()["reason"]) == (401, "token-expired")


def test_the_command_line_as_installed(daemon: Daemon) -> None:
    daemon.start()

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(SOGLIA), *arguments, "--config", str(daemon.config)]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    issued = ran("token", "issue", "--scope", "platform", "--json")
    assert issued.returncode == 0, issued.stderr
    daemon.tokens["platform"] = json.loads(issued.stdout)["token"]
    daemon.put([visitor("v-1"), appointment("a-1", "v-1", 5)])
    assert len(ran("qr", "a-1").stdout.splitlines()) > 15, "a code to hold before the scanner"
    picture = daemon.folder / "code.png"
    assert ran("qr", "a-1", "--png", str(picture)).returncode == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused = ran("qr", "a-404")
    assert refused.returncode == 1
    assert "unknown-appointment" in refused.stderr
    bad = ran("token", "issue", "--scope", "king")
    assert bad.returncode == 1
    assert "Traceback" not in bad.stderr
    assert "chain holds" in ran("verify").stdout
    assert "equal to the replay" in ran("replay").stdout


def test_nobody_answers_and_the_whole_ladder_is_climbed_in_time(daemon: Daemon) -> None:
    daemon.issue("platform", "clerk:marco", "clerk:giulia", "clerk:sara", "reader:door-1")
    daemon.start()
    people = [clerk("marco"), clerk("giulia"), clerk("sara", roles=("manager",))]
    booked = appointment("a-1", "v-1", 5, code="LADDER")
    daemon.put([*people, visitor("v-1"), booked])
    marco, giulia = daemon.station("clerk:marco"), daemon.station("clerk:giulia")
    sara, door = daemon.station("clerk:sara"), daemon.station("reader:door-1")
    door.read("r-1", payload="LADDER")
    first = marco.alert(level="clerk", attempt=1)
    visit = first.data["visit"]
    redelivered = marco.alert(visit, attempt=2)
    assert redelivered.data["alert"] == first.data["alert"], "the same alert again"
    giulia.alert(visit, level="backup")
    again = marco.alert(visit, attempt=3)
    pool, manager = sara.alert(visit, level="pool"), sara.alert(visit, level="manager")
    assert again.data["alert"] == first.data["alert"]
    assert pool.topic == "floor/alerts"
    assert manager.topic == "clerks/sara/alerts"

    opened_at = _time_of(daemon, visit, "soglia.visit.opened.v1")
    climbed = [e for e in daemon.events() if e["type"] == "soglia.visit.escalated.v1"]
    assert [e["data"]["level"] for e in climbed] == ["backup", "pool", "manager"]
    for event, due in zip(climbed, (BACKUP, POOL, MANAGER), strict=True):
        late = (datetime.fromisoformat(event["time"]) - opened_at).total_seconds() - due
        assert 0 <= late < 1.5, (event["data"]["level"], late)
    answer = daemon.http("clerk:giulia").post(
        f"/api/v1/visits/{visit}/commands", json={"id": "c", "action": "coming"}
    )
    assert answer.status_code == 200
    for station, alert in ((marco, first), (sara, manager)):
        name = alert.data["alert"]
        station.until(partial(_closes, name), f"the end of {name}")


def _closes(alert: str, told: Told) -> bool:
    return told.type == "soglia.alert-closed.v1" and told.data["alert"] == alert


def test_what_was_due_while_the_box_was_off_is_done_when_it_is_on_again(daemon: Daemon) -> None:
    daemon.issue("platform", "clerk:marco", "clerk:giulia", "reader:door-1")
    daemon.start()
    daemon.put([clerk("marco"), clerk("giulia"), visitor("v-1"), appointment("a-1", "v-1", 5, code="SLEEPY")])
    door = daemon.station("reader:door-1")
    door.read("r-1", payload="SLEEPY")
    door.receipt("r-1")
    giulia = daemon.station("clerk:giulia", lasting=True)
    daemon.kill()
    time.sleep(BACKUP)  # the deadline passes with nobody there
    daemon.start()
    assert giulia.alert().data["level"] in ("backup", "pool", "manager"), "the rung that is due by now"


def test_a_retained_read_is_a_ghost_when_the_gateway_comes_back(daemon: Daemon) -> None:
    daemon.issue("platform", "clerk:marco", "reader:door-1")
    daemon.start()
    daemon.put([clerk("marco"), visitor("v-1"), appointment("a-1", "v-1", 5, code="GHOST1")])
    door = daemon.station("reader:door-1", lasting=True)
    door.read("ghost-1", payload="GHOST1", retain=True)
    assert door.receipt("ghost-1")["outcome"] == "accepted"
    daemon.stop()
    (daemon.data / "broker" / "clients.json").unlink()  # a new session: the broker sends what is retained
    daemon.start()
    told = door.receipt("ghost-1", 2)
    assert told["outcome"] == "repeated"
    assert told["first"] == {"outcome": "accepted"}
    assert len([e for e in daemon.events() if e["type"] == "soglia.visit.opened.v1"]) == 1


def _time_of(daemon: Daemon, visit: str, kind: str) -> datetime:
    (event,) = (e for e in daemon.events() if e["subject"] == visit and e["type"] == kind)
    return datetime.fromisoformat(event["time"])
