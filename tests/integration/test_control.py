"""The control socket, the data directory's lock and the service manager's socket, all real."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import PeerError, Refused
from gateway.shell import control
from gateway.shell.control import Control, call
from gateway.shell.lock import DataDir
from gateway.shell.notify import notify


def issue(request: dict[str, Any]) -> dict[str, Any]:
    if request["scope"] != "operator":
        raise Refused("scope-unknown", "There is no such scope.")
    return {"token": "è", "seen": request}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Control]:
    found = Control(tmp_path / control.FILE, {"token.issue": issue}, seconds=20)
    found.start()
    yield found
    found.stop()


def raw(path: Path, sent: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        with contextlib.suppress(ConnectionError):  # refused before all was sent: the answer says why
            connection.sendall(sent)
        return dict(json.loads(connection.makefile("rb").readline()))


@pytest.mark.usefixtures("server")
def test_a_call_reaches_its_handler(tmp_path: Path) -> None:
    path = tmp_path / control.FILE
    assert call(path, "token.issue", scope="operator", path="x") == {
        "token": "è",
        "seen": {"scope": "operator", "path": "x"},
    }
    with pytest.raises(Refused, match="There is no such scope") as refused:
        call(path, "token.issue", scope="everything")
    assert refused.value.reason == "scope-unknown"
    with pytest.raises(Refused) as refused:
        call(path, "token.isue")
    assert refused.value.reason == "control-unknown-op"


@pytest.mark.usefixtures("server")
def test_only_the_owner_may_open_the_socket(tmp_path: Path) -> None:
    mode = (tmp_path / control.FILE).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == [control.FILE], "nothing else is left behind"


def test_who_is_heard() -> None:
    assert control.allowed(0)
    assert control.allowed(os.geteuid())
    assert not control.allowed(os.geteuid() + 12345)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.usefixtures("server")
def test_another_user_is_not_heard_even_when_the_file_is_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    (tmp_path / control.FILE).chmod(0o666)
    asking = f"""
import contextlib, os, socket
connection = socket.socket(socket.AF_UNIX)
os.chdir({str(tmp_path)!r})
os.setuid(65534)
connection.connect({control.FILE!r})
with contextlib.suppress(ConnectionError):
    connection.sendall(b'{{"op": "token.issue", "scope": "operator"}}\\n')
print(connection.makefile().readline())
"""
    done = subprocess.run([sys.executable, "-I", "-c", asking], capture_output=True, text=True, timeout=60)
    assert '"reason": "control-forbidden"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"nonsense\n", "control-malformed"),
        (b"[]\n", "control-malformed"),
        (b"[" * 30000 + b"\n", "control-malformed"),
        (b"\xff\n", "control-malformed"),
        (b"{}\n", "control-unknown-op"),
        (b'{"op": ["token.issue"]}\n', "control-unknown-op"),
        (b'{"op": "' + b"x" * control.MAX_REQUEST, "control-oversize"),
    ],
)
@pytest.mark.usefixtures("server")
def test_nonsense_is_refused_and_the_next_is_served(tmp_path: Path, sent: bytes, reason: str) -> None:
    path = tmp_path / control.FILE
    assert raw(path, sent)["reason"] == reason
    assert raw(path, b'{"op": "token.issue", "scope": "operator"}\n')["ok"]


def test_who_says_nothing_is_hung_up_on(tmp_path: Path) -> None:
    server = Control(tmp_path / control.FILE, {}, seconds=0.1)
    server.start()
    try:
        assert raw(tmp_path / control.FILE, b'{"op"')["reason"] == "control-timeout"
    finally:
        server.stop()


@pytest.mark.usefixtures("server")
def test_a_slow_caller_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / control.FILE
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        assert call(path, "token.issue", scope="operator")


def test_stop_hangs_up_on_the_silent_and_waits_for_what_runs(tmp_path: Path) -> None:
    path = tmp_path / control.FILE
    entered, leave = threading.Event(), threading.Event()

    def slow(_: dict[str, Any]) -> dict[str, Any]:
        entered.set()
        assert leave.wait(60)
        return {"done": True}

    server = Control(path, {"slow": slow}, seconds=60)
    server.start()
    answers: list[dict[str, Any]] = []
    caller = threading.Thread(target=lambda: answers.append(call(path, "slow")))
    caller.start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(str(path))
        assert entered.wait(60)
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        silent.settimeout(60)
        assert json.loads(silent.makefile("rb").readline() or b'{"reason": "hung up"}')["reason"]
        leave.set()
        stopper.join(60)
        caller.join(60)
    assert answers == [{"done": True}]
    assert not path.exists()
    with pytest.raises(PeerError) as gone:
        call(path, "slow")
    assert gone.value.reason == "daemon-not-running"


def test_a_dead_daemon_s_socket_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    path = tmp_path / control.FILE
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(PeerError) as gone:
        call(path, "token.issue")
    assert gone.value.reason == "daemon-not-running"
    server = Control(path, {"token.issue": issue})
    server.start()
    assert call(path, "token.issue", scope="operator")
    server.stop()
    path.write_text("mine")
    with pytest.raises(Refused, match="is not a socket"):
        Control(path, {}).start()
    assert path.read_text() == "mine"
    with pytest.raises(Refused, match="cannot be made"):
        Control(tmp_path / "nowhere" / "s", {}).start()


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    path = deep / control.FILE
    with socket.socket(socket.AF_UNIX) as plain, pytest.raises(OSError, match="too long"):
        plain.bind(str(path))
    server = Control(path, {"token.issue": issue})
    server.start()
    try:
        assert call(path, "token.issue", scope="operator")
    finally:
        server.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_handler_s_bug_is_neither_hidden_nor_answered_as_done(tmp_path: Path) -> None:
    seen: list[type[BaseException] | None] = []
    server = Control(
        tmp_path / control.FILE, {"broken": lambda request: dict(request["nothing"]), "token.issue": issue}
    )
    server.start()
    before, threading.excepthook = threading.excepthook, lambda args: seen.append(args.exc_type)
    try:
        with pytest.raises(PeerError) as silent:
            call(tmp_path / control.FILE, "broken")
        assert silent.value.reason == "daemon-silent"
        assert call(tmp_path / control.FILE, "token.issue", scope="operator")
        server.stop()
        assert seen == [KeyError]
    finally:
        threading.excepthook = before


def test_a_daemon_that_never_answers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "s"))
        mute.listen()
        with pytest.raises(PeerError) as silent:
            call(tmp_path / "s", "x", timeout=0.1)
    assert silent.value.reason == "daemon-silent"


HOLDER = """
import sys, pathlib
from gateway.shell.lock import DataDir
with DataDir.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_who_has_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "made" / "data"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        with pytest.raises(Refused, match=f"Process {holder.pid} is using") as refused:
            DataDir.hold(path)
        assert refused.value.reason == "data-dir-in-use"
        holder.send_signal(signal.SIGKILL)
        holder.wait(60)
    with DataDir.hold(path) as ours:
        assert (ours.path / "lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(Refused, match=f"Process {os.getpid()} is using"):
            DataDir.hold(path)
    with DataDir.hold(path) as again:
        again.release()


def test_a_place_that_cannot_be_a_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused) as refused:
        DataDir.hold(tmp_path / "file" / "data")
    assert refused.value.reason == "data-dir-unusable"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_hears_that_we_are_ready(tmp_path: Path, abstract: bool) -> None:
    name = f"\0soglia-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(30)
        manager.bind(name)
        assert notify("READY=1", {"NOTIFY_SOCKET": name.replace("\0", "@")})
        assert manager.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_is_sent(tmp_path: Path) -> None:
    assert not notify("READY=1", {})
    with pytest.raises(PeerError) as failed:
        notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert failed.value.reason == "notify-failed"


@pytest.mark.usefixtures("server")
def test_a_caller_refused_before_it_has_said_all_still_hears_why(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        call(tmp_path / control.FILE, "token.issue", scope="x" * 64 * control.MAX_REQUEST)
    assert refused.value.reason == "control-oversize"
