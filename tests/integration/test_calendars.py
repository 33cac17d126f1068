"""The calendar poller against a real HTTP server on the loopback, and against files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway.core.errors import LogError
from gateway.core.model import Appointment
from gateway.shell.directory import Directory, PutResult
from sync import calendars
from sync.adapters.ical import Feed
from sync.calendars import CalendarPoller, CalendarSource

KEY = b"k" * 32
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
FEED = Feed("agenda", "milano-01", "Europe/Rome", clerk="marco")


def calendar(*hours: int) -> bytes:
    events = "".join(
        f"BEGIN:VEVENT\r\nUID:{hour}\r\nDTSTART:20261123T{hour:02}0000Z\r\nDURATION:PT30M\r\nEND:VEVENT\r\n"
        for hour in hours
    )
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:t\r\n{events}END:VCALENDAR\r\n".encode()


class CalendarServer:
    """Serves `body` with an ETag that it honours; remembers the statuses it answered."""

    def __init__(self) -> None:
        self.body = calendar(10)
        self.etag = '"1"'
        self.status = 200
        self.answered: list[int] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                same = self.headers.get("If-None-Match") == server.etag
                status = 304 if same and server.status == 200 else server.status
                server.answered.append(status)
                self.send_response(status)
                self.send_header("ETag", server.etag)
                body = server.body if status == 200 else b""
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/agenda.ics"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[CalendarServer]:
    made = CalendarServer()
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Directory]:
    opened = Directory.open(tmp_path / "directory.db", KEY, "milano-01")
    yield opened
    opened.close()


class Bench:
    """A poller that is polled by hand, at a time of the test's choosing."""

    def __init__(self, directory: Directory, location: str, every: float = 300.0) -> None:
        self.results: list[PutResult] = []
        self.fatal: list[LogError] = []
        self.now = NOW
        self.source = CalendarSource(FEED, location, every)
        self.poller = CalendarPoller(
            directory, [self.source], KEY, lambda: self.now, self.results.append, self.fatal.append
        )

    def poll(self) -> str | None:
        self.poller.poll(self.source)
        return self.poller.status()[0].problem

    def changed(self) -> list[tuple[int, str]]:
        subjects = [change.subject for change in self.results[-1].changed]
        assert all(isinstance(subject, Appointment) for subject in subjects)
        return sorted((s.start.hour, s.status) for s in subjects if isinstance(s, Appointment))


@pytest.fixture
def bench(directory: Directory) -> Iterator[Callable[[str], Bench]]:
    made: list[Bench] = []

    def build(location: str) -> Bench:
        made.append(Bench(directory, location))
        return made[-1]

    yield build
    for each in made:
        each.poller.stop()


def test_a_feed_is_read_when_it_changed_and_only_then(
    server: CalendarServer, bench: Callable[[str], Bench]
) -> None:
    it = bench(server.url)
    assert it.poll() is None
    assert it.changed() == [(10, "booked")]
    assert it.poll() is None
    assert (server.answered, len(it.results)) == ([200, 304], 1)
    server.body, server.etag = calendar(10, 12), '"2"'
    assert it.poll() is None
    assert it.changed() == [(12, "booked")]
    server.body, server.etag = calendar(12), '"3"'
    assert it.poll() is None
    assert it.changed() == [(10, "cancelled")]
    server.etag = '"4"'  # a new name for the same bytes
    assert it.poll() is None
    assert len(it.results) == 3


def test_the_window_moves_on_although_nothing_changed(
    server: CalendarServer, bench: Callable[[str], Bench]
) -> None:
    server.body = calendar(10).replace(b"20261123", b"20270201")  # beyond 60 days
    it = bench(server.url)
    it.poll()
    assert it.changed() == []
    it.now = NOW + timedelta(days=20)
    it.poll()
    assert it.changed() == [(10, "booked")]


def test_a_broken_or_unreachable_feed_keeps_what_is_known(
    server: CalendarServer, bench: Callable[[str], Bench], directory: Directory
) -> None:
    it = bench(server.url)
    it.poll()
    server.etag, server.body = '"2"', calendar(10)[:-30]
    assert "calendar cannot be used" in str(it.poll())
    server.status = 503
    assert "answered 503" in str(it.poll())
    status = it.poller.status()[0]
    assert (status.failures, status.last_ok, len(it.results)) == (2, NOW, 1)
    (planned,) = directory.appointments(NOW, NOW + timedelta(days=2))
    assert planned.status == "booked"
    server.status, server.body = 200, calendar(11)
    assert it.poll() is None
    assert it.changed() == [(10, "cancelled"), (11, "booked")]
    server.close()
    assert "cannot be fetched" in str(it.poll())


def test_too_large_a_feed_is_refused(
    server: CalendarServer, bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = bench(server.url)
    monkeypatch.setattr(calendars, "MAX_BYTES", len(server.body) - 1)
    assert "larger than" in str(it.poll())
    monkeypatch.setattr(calendars, "MAX_BYTES", len(server.body))
    assert it.poll() is None


def test_a_reading_that_does_not_end_is_given_up(
    server: CalendarServer, bench: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = bench(server.url)
    monkeypatch.setattr(calendars, "READING_SECONDS", 0.01)
    assert "takes too long" in str(it.poll())


def test_a_file_is_read_again_when_it_changed(tmp_path: Path, bench: Callable[[str], Bench]) -> None:
    path = tmp_path / "agenda.ics"
    it = bench(str(path))
    assert "cannot be fetched" in str(it.poll())
    path.write_bytes(calendar(10))
    assert it.poll() is None
    path.touch()
    assert it.poll() is None
    assert len(it.results) == 1
    path.write_bytes(calendar(10, 11))
    assert it.poll() is None
    assert it.changed() == [(11, "booked")]


def test_an_unusable_event_is_named_and_set_aside_once(
    tmp_path: Path, bench: Callable[[str], Bench], directory: Directory
) -> None:
    path = tmp_path / "agenda.ics"
    path.write_bytes(calendar(10, 11).replace(b"DTSTART:20261123T11", b"DTSTART:someday"))
    it = bench(str(path))
    assert it.poll() is None
    assert it.poller.status()[0].remarks == ("event 2: DTSTART: cannot be read",)
    it.now = NOW + timedelta(days=1)
    it.poll()
    assert directory.quarantine_count() == 1


def test_a_crash_before_the_state_is_kept_repeats_without_a_change(
    server: CalendarServer,
    bench: Callable[[str], Bench],
    directory: Directory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = bench(server.url)

    def cut(*args: object) -> None:
        raise LogError("directory-failed", "The power went.")

    with monkeypatch.context() as patch:
        patch.setattr(directory, "keep_source_state", cut)
        with pytest.raises(LogError):
            it.poll()
    assert it.poll() is None
    assert [(result.accepted, result.unchanged) for result in it.results] == [(1, 0), (0, 1)]
    assert len(directory.changes_since(directory.told())) == 1


def test_the_thread_polls_by_itself_and_ends(
    server: CalendarServer, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Bench(directory, server.url, every=0.02)
    it.poller.start()
    try:
        deadline = time.monotonic() + 60
        while len(server.answered) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.answered[:3] == [200, 304, 304]
    finally:
        it.poller.stop()


def test_our_own_disks_failure_is_fatal_not_the_feeds(server: CalendarServer, directory: Directory) -> None:
    it = Bench(directory, server.url)
    directory.close()
    it.poller.start()
    deadline = time.monotonic() + 60
    while not it.fatal and time.monotonic() < deadline:
        time.sleep(0.01)
    it.poller.stop()
    assert [error.reason for error in it.fatal] == ["directory-failed"]
