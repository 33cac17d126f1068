"""Polls the configured iCalendar feeds, files and URLs, into the directory.

One thread. A URL is asked with its ETag and Last-Modified, a file looked at by its time and size; only new
content is read, in a child process, because parsing is heavy and a hostile rule may not end. What was seen
of each feed is kept in the directory's `sources`, after the records have landed: a crash in between repeats
the reading, which changes nothing. A failure is kept in the feed's status and tried again with back-off.
"""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.core.errors import DecodeError, LogError, PeerError, SogliaError
from gateway.shell.directory import Directory, PutResult
from sync.adapters.ical import Feed, Mapped, Seen

MAX_BYTES: Final = 10 * 1024 * 1024
FETCH_SECONDS: Final = 20.0
READING_SECONDS: Final = 120.0
MAX_BACK_OFF: Final = 3_600.0
REFRESH_SECONDS: Final = 6 * 3_600.0


@dataclass(frozen=True, slots=True)
class CalendarSource:
    """A feed and where it is: `location` is a path or an http(s) URL."""

    feed: Feed
    location: str
    every_seconds: float = 300.0

    @property
    def is_url(self) -> bool:
        """Whether it is fetched."""
        return self.location.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How a feed stands. `problem` is the last failure, None after a success; `remarks` are the events that
    could not be used at the last reading."""

    name: str
    last_ok: datetime | None = None
    last_try: datetime | None = None
    problem: str | None = None
    failures: int = 0
    remarks: tuple[str, ...] = ()


@dataclass(slots=True)
class _Content:
    raw: bytes
    marks: dict[str, str] = field(default_factory=dict)


class CalendarPoller:
    """Keeps the directory in step with its feeds.

    `on_put` gets every result, on the poller's thread; what the log must hear then is the directory's
    `changes_since(told())`, since a repeated reading has no changes of its own. A failure there counts as the
    feed's, and the reading is repeated. `on_fatal` hears that our own disk failed; the thread has then ended.
    """

    def __init__(
        self,
        directory: Directory,
        sources: Sequence[CalendarSource],
        identity_key: bytes,
        now: Callable[[], datetime],
        on_put: Callable[[PutResult], None],
        on_fatal: Callable[[LogError], None],
    ) -> None:
        self._directory = directory
        self._sources = list(sources)
        self._key = identity_key
        self._now = now
        self._on_put = on_put
        self._on_fatal = on_fatal
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._status = {s.feed.name: FeedStatus(s.feed.name) for s in self._sources}
        self._client = httpx.Client(timeout=FETCH_SECONDS, follow_redirects=True, trust_env=False)
        self._thread = threading.Thread(target=self._run, name="calendars", daemon=True)

    def start(self) -> None:
        """Begin; the first poll is at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; a reading in progress is finished first."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.close()

    def status(self) -> list[FeedStatus]:
        """How each feed stands, in the order of the configuration."""
        with self._lock:
            return [self._status[source.feed.name] for source in self._sources]

    def _run(self) -> None:
        try:
            self._poll_all()
        except LogError as error:
            self._on_fatal(error)

    def _poll_all(self) -> None:
        due = {source.feed.name: 0.0 for source in self._sources}
        while not self._stop.is_set():
            for source in self._sources:
                if time.monotonic() >= due[source.feed.name] and not self._stop.is_set():
                    failures = self.poll(source)
                    wait = min(source.every_seconds * 2**failures, max(MAX_BACK_OFF, source.every_seconds))
                    due[source.feed.name] = time.monotonic() + wait
            soonest = min(due.values(), default=time.monotonic() + MAX_BACK_OFF)
            self._stop.wait(max(soonest - time.monotonic(), 0.0))

    def poll(self, source: CalendarSource) -> int:
        """Poll one feed now; its status says how it went. Returns the failures in a row.

        Raises:
            LogError: our own disk failed, which no feed is to blame for.
        """
        at = self._now()
        before = self._status[source.feed.name]
        try:
            remarks = self._poll(source, at)
            after = FeedStatus(
                source.feed.name, at, at, remarks=before.remarks if remarks is None else remarks
            )
        except LogError:
            raise
        except SogliaError as error:
            after = FeedStatus(
                source.feed.name, before.last_ok, at, error.detail, before.failures + 1, before.remarks
            )
        with self._lock:
            self._status[source.feed.name] = after
        return min(after.failures, 20)

    def _poll(self, source: CalendarSource, at: datetime) -> tuple[str, ...] | None:
        name = f"calendar:{source.feed.name}"
        state = self._directory.source_state(name)
        # The window moves on even where the file does not change, so it is read again now and then.
        fresh = at.timestamp() - float(state.get("read_at", 0)) < REFRESH_SECONDS
        marks = state.get("marks", {}) if fresh and state.get("location") == source.location else {}
        content = self._fetch(source, marks) if source.is_url else _look(Path(source.location), marks)
        if content is None:
            return None
        known = {id_: Seen(**seen) for id_, seen in state.get("seen", {}).items()}
        mapped = read_apart(content.raw, source.feed, at, self._key, known)
        result = self._land(name, source, content, mapped, at)
        refused = (f"record {number}: {problem}" for number, problem in result.quarantined)
        return (*(f"{remark.where}: {remark.text}" for remark in mapped.problems), *refused)

    def _land(
        self, name: str, source: CalendarSource, content: _Content, mapped: Mapped, at: datetime
    ) -> PutResult:
        result = self._directory.put_records(mapped.records, name, at)
        for number, remark in enumerate(mapped.problems, 1):
            self._directory.quarantine(name, number, f"{remark.where}: {remark.text}", b"", at)
        self._on_put(result)
        state = {
            "location": source.location,
            "marks": content.marks,
            "read_at": at.timestamp(),
            "seen": {id_: asdict(seen) for id_, seen in mapped.seen.items()},
        }
        self._directory.keep_source_state(name, state, at)
        return result

    def _fetch(self, source: CalendarSource, marks: Mapping[str, str]) -> _Content | None:
        headers = {"Accept": "text/calendar"}
        if "etag" in marks:
            headers["If-None-Match"] = marks["etag"]
        if "last-modified" in marks:
            headers["If-Modified-Since"] = marks["last-modified"]
        try:
            with self._client.stream("GET", source.location, headers=headers) as answer:
                if answer.status_code == httpx.codes.NOT_MODIFIED:
                    return None
                if answer.status_code != httpx.codes.OK:
                    raise _unreachable(f"its server answered {answer.status_code}")
                raw = _bounded(answer)
        except httpx.HTTPError as error:
            raise _unreachable(type(error).__name__) from None
        found = {mark: answer.headers[mark] for mark in ("etag", "last-modified") if mark in answer.headers}
        return _unless_same(_Content(raw, found), marks)


def _bounded(answer: httpx.Response) -> bytes:
    raw = bytearray()
    deadline = time.monotonic() + 3 * FETCH_SECONDS  # the client's timeout is for each piece only
    for piece in answer.iter_bytes():
        raw += piece
        if len(raw) > MAX_BYTES:
            raise DecodeError("calendar-too-large", f"The calendar is larger than {MAX_BYTES} bytes.")
        if time.monotonic() > deadline:
            raise _unreachable("its server is too slow")
    return bytes(raw)


def _look(path: Path, marks: Mapping[str, str]) -> _Content | None:
    try:
        stat = path.stat()
        seen = f"{stat.st_mtime_ns}:{stat.st_size}"
        if marks.get("file") == seen:
            return None
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unreachable(error.strerror or type(error).__name__) from None
    if len(raw) > MAX_BYTES:
        raise DecodeError("calendar-too-large", f"The calendar is larger than {MAX_BYTES} bytes.")
    return _unless_same(_Content(raw, {"file": seen}), marks)


def _unless_same(content: _Content, marks: Mapping[str, str]) -> _Content | None:
    """None where the bytes are those of the last reading, whatever the server or the file's time say."""
    content.marks["sha256"] = hashlib.sha256(content.raw).hexdigest()
    return None if marks.get("sha256") == content.marks["sha256"] else content


def _unreachable(why: str) -> PeerError:
    return PeerError("calendar-unreachable", f"The calendar cannot be fetched: {why}.")


def read_apart(raw: bytes, feed: Feed, at: datetime, key: bytes, known: Mapping[str, Seen]) -> Mapped:
    """`ical.records` in a child process, bounded in time.

    Raises:
        DecodeError: `calendar-broken`, or `calendar-too-costly` when it does not come to an end.
        PeerError: `calendar-reading-failed`: the child died.
    """
    order = pickle.dumps((raw, feed, at, key, dict(known)))
    command = [sys.executable, "-m", "sync.adapters.ical_child"]
    try:
        done = subprocess.run(
            command, input=order, stdout=subprocess.PIPE, timeout=READING_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise DecodeError(
            "calendar-too-costly", "The calendar takes too long to read; what was known of it stays."
        ) from None
    if done.returncode != 0:
        raise PeerError(
            "calendar-reading-failed", f"The process that reads calendars ended with {done.returncode}."
        )
    answer: Any = pickle.loads(done.stdout)
    if isinstance(answer, Mapped):
        return answer
    raise DecodeError(*answer)
