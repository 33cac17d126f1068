"""The real daemon in a process of its own, in a folder of its own: spoken to by the contracts only."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from gateway import cli
from tests.rigs.station import STORE, Station

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30.0
HERE = (sys.executable, "-m", "gateway.cli")

TABLES = """
[[zones]]
id = "door"
doorway = true
adjacent = ["shoes"]

[[zones]]
id = "shoes"

[[readers]]
id = "door-1"
type = "mqtt"
zone = "door"

[[readers]]
id = "shelf-1"
type = "mqtt"
zone = "shoes"
"""


class Daemon:
    """A store in `folder`. `program` is what `run` is asked of: the gateway, or one that a test has broken.

    do      issue the tokens before `start`: it is quicker
    """

    def __init__(
        self,
        folder: Path,
        *,
        broker: str = "",
        tables: str = TABLES,
        more: str = "",
        data: Path | None = None,
        program: Sequence[str] = HERE,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data, self.config = folder, data or folder / "data", folder / "store.toml"
        self.program = tuple(program)
        self.run: dict[str, Any] = {}
        self.tokens: dict[str, str] = {}
        self.token_ids: dict[str, str] = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._open: list[Any] = []
        self._version = count(int(time.time() * 1000))
        head = f'[store]\nid = "{STORE}"\ntime_zone = "{noon_zone()}"\n\n[data]\ndir = "{self.data}"\n'
        self.config.write_text(f"{head}\n{broker}\n{more}\n{tables}")

    # -- the process

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        with (self.folder / "daemon.log").open("ab") as log:
            command = [*self.program, "run", "--config", str(self.config)]
            self._child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        return self._child

    def start(self) -> Daemon:
        """Start it; returns when run.json is there."""
        self.spawn()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Until run.json is this process's."""
        deadline = time.monotonic() + SECONDS
        while not self.ready:
            assert self.child.poll() is None, f"the daemon ended: {self.said[-3000:]}"
            assert time.monotonic() < deadline, f"the daemon is not ready: {self.said[-3000:]}"
            time.sleep(0.01)

    @property
    def ready(self) -> bool:
        """Whether run.json is this process's."""
        try:
            told = json.loads((self.data / "run.json").read_text())
        except FileNotFoundError:
            return False
        if told["pid"] != self.child.pid:
            return False
        self.run = told
        return True

    @property
    def child(self) -> subprocess.Popen[bytes]:
        assert self._child is not None
        return self._child

    @property
    def said(self) -> str:
        """Everything it has written to stdout and stderr."""
        return (self.folder / "daemon.log").read_text()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(SECONDS)

    def kill(self) -> None:
        """SIGKILL: no farewell."""
        self.child.kill()
        self.child.wait(SECONDS)

    def close(self) -> None:
        """Let go of everything that was opened here."""
        for each in self._open:
            each.close()
        if self._child is not None and self._child.poll() is None:
            self.stop()

    def broker_pid(self) -> int:
        """The embedded broker's process."""
        children = Path(f"/proc/{self.child.pid}/task").glob("*/children")
        for pid in " ".join(each.read_text() for each in children).split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/exe").readlink().name == "nats-server":
                    return int(pid)
        raise AssertionError("the daemon has no broker")

    # -- its command line, in this process: what `soglia` is

    def soglia(self, *arguments: str, expect: int = 0, config: bool = True) -> Ran:
        """`soglia ARGUMENTS --json`; its exit code must be `expect`."""
        out, err = io.StringIO(), io.StringIO()
        where = ("--config", str(self.config)) if config else ()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = cli.main([*arguments, "--json", *where])
        ran = Ran(code, out.getvalue(), err.getvalue())
        assert code == expect, ran
        return ran

    def issue(self, *scopes: str) -> None:
        """Tokens for the scopes, kept in `tokens` and `token_ids`."""
        for scope in scopes:
            told = self.soglia("token", "issue", "--scope", scope).json
            self.tokens[scope], self.token_ids[scope] = told["token"], told["id"]

    def qr(self, appointment: str) -> str:
        """A check-in token."""
        return str(self.soglia("qr", appointment).json["token"])

    # -- its clients

    def station(self, scope: str, *topics: str, **more: Any) -> Station:
        """A tablet, reader or kiosk; by default it listens to all that it may."""
        name = scope.partition(":")[2]
        kind = "clerks" if scope.startswith("clerk:") else "readers"
        own = [f"{kind}/{name}/receipts", "gateway/status"]
        if kind == "clerks":
            own += [f"clerks/{name}/alerts", "floor/alerts", "visits/+/state"]
        station = Station(self.run["mqtt"], scope, self.tokens[scope], topics or own, **more)
        self._open.append(station)
        return station

    def http(self, scope: str | None) -> httpx.Client:
        """A client with the scope's token."""
        headers = {"authorization": f"Bearer {self.tokens[scope]}"} if scope else {}
        client = httpx.Client(base_url=self.run["api"], headers=headers, timeout=SECONDS, trust_env=False)
        self._open.append(client)
        return client

    def put(self, records: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """`PUT /sync/directory`, with versions where a record has none; the answer."""
        lines = [json.dumps({"version": next(self._version), **record}) for record in records]
        with self.http("platform") as client:
            answer = client.put("/api/v1/sync/directory", content="\n".join(lines).encode())
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def events(self) -> list[dict[str, Any]]:
        """The whole log, by the platform's pulls."""
        found: list[dict[str, Any]] = []
        with self.http("platform") as client:
            after: dict[str, str] = {}
            while True:
                told = client.get("/api/v1/sync/batches", params={"limit": "5000", **after}).json()
                found += told["events"]
                after = {"after": told["next"]}
                if told["last_seq"] >= told["high_water"]:
                    return found


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def noon_zone() -> str:
    """A time zone where it is about noon now, so that "today" does not end in the middle of a test."""
    ahead = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"


def in_minutes(minutes: float) -> str:
    """RFC 3339, so many minutes from now."""
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat(timespec="seconds")


def clerk(name: str, *, on: bool = True, roles: Sequence[str] = ("clerk",)) -> dict[str, Any]:
    """A clerk's record, whose shift is now or tomorrow."""
    shift = (in_minutes(-120), in_minutes(240)) if on else (in_minutes(1440), in_minutes(1800))
    return {
        "kind": "clerk",
        "id": name,
        "name": f"{name.title()} Cognome-{name}",
        "languages": ["it"],
        "skills": [],
        "zone": "shoes",
        "roles": list(roles),
        "shifts": [{"start": shift[0], "end": shift[1]}],
    }


def visitor(name: str, *credentials: tuple[str, str], **more: Any) -> dict[str, Any]:
    """A visitor's record; credentials are (kind, value)."""
    record: dict[str, Any] = {
        "kind": "visitor",
        "id": name,
        "given_name": f"Nome-{name}",
        "family_name": f"Famiglia-{name}",
        "language": "it",
        "credentials": [{"kind": kind, "value": value} for kind, value in credentials],
        "consent": [{"purpose": "history", "granted": True, "at": in_minutes(-10_000)}],
    }
    return record | more


def appointment(
    name: str, of: str, minutes: float, *, with_: str | None = "marco", **more: Any
) -> dict[str, Any]:
    """An appointment's record, that starts `minutes` from now and lasts half an hour."""
    record: dict[str, Any] = {
        "kind": "appointment",
        "id": name,
        "visitor": of,
        "start": in_minutes(minutes),
        "end": in_minutes(minutes + 30),
        "status": "booked",
        "store": STORE,
        "service": "fitting",
    }
    return record | ({"clerk": with_} if with_ else {}) | more


@contextlib.contextmanager
def opened(daemon: Daemon) -> Iterator[Daemon]:
    """The daemon, closed at the end."""
    try:
        yield daemon
    finally:
        daemon.close()
