"""The event stream over a real connection: nothing is lost or told twice, whatever happens in between."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from gateway.api import stream
from gateway.api.server import GRACE_SECONDS
from gateway.core.commands import SetDuty
from tests.rigs.fake_services import Shop, people, served


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    yield shop
    shop.close()


@dataclass(frozen=True)
class Told:
    """One server-sent event."""

    event: str
    data: Any
    id: int | None


@contextmanager
def listening(
    url: str, token: str, last_event_id: int | None = None, after: int | None = None
) -> Iterator[Iterator[Told]]:
    headers = {"authorization": f"Bearer {token}"}
    if last_event_id is not None:
        headers["last-event-id"] = str(last_event_id)
    query = {} if after is None else {"after": after}
    with httpx.stream("GET", f"{url}/api/v1/stream", headers=headers, params=query, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield parsed(answer.iter_lines())


def parsed(lines: Iterator[str]) -> Iterator[Told]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            key, _, value = line.partition(": ")
            fields[key] = value
        elif "event" in fields:
            number = int(fields["id"]) if "id" in fields else None
            yield Told(fields["event"], json.loads(fields["data"]), number)
            fields = {}
        else:
            fields = {}


def take(events: Iterator[Told], until: int) -> list[Told]:
    """The log's events up to seq `until`."""
    found: list[Told] = []
    while not found or found[-1].id != until:
        told = next(events)
        if told.event != "heartbeat":
            found.append(told)
    return found


def test_hello_then_everything_as_it_happens(shop: Shop) -> None:
    with served(shop) as server, listening(server.url, shop.token("clerk:marco")) as events:
        hello = next(events)
        assert (hello.event, hello.id) == ("hello", shop.log.head[0])
        assert (hello.data["epoch"], hello.data["visits"]) == (shop.log.epoch, [])
        shop.scan("K7Q2MX")
        told = take(events, shop.log.head[0])
    stored = shop.log.read(hello.id or 0, 100)
    assert [(t.id, t.event) for t in told] == [(s.seq, s.type) for s in stored]
    assert [t.data for t in told] == [json.loads(s.body) for s in stored]
    assert told[0].event == "soglia.visit.opened.v1"


def test_a_reconnect_resumes_without_loss_or_repetition(shop: Shop) -> None:
    token = shop.token("clerk:marco")
    with served(shop) as server:
        port = server.port
        with listening(server.url, token) as events:
            start = next(events).id or 0
            shop.scan("K7Q2MX")
            told = take(events, shop.log.head[0])
    shop.tap("04C13D52AA6F81")  # while the server is away
    with served(shop, port) as server:
        shop.engine.submit(_status(shop, "away"), b"").result(20)
        with listening(server.url, token, last_event_id=told[-1].id) as events:
            resumed = next(events)
            assert (resumed.event, resumed.id, resumed.data["epoch"]) == ("resumed", None, shop.log.epoch)
            shop.engine.submit(_status(shop, "back"), b"").result(20)
            told += take(events, shop.log.head[0])
        # The control: without Last-Event-ID what happened meanwhile is not told again.
        with listening(server.url, token) as events:
            assert next(events).id == shop.log.head[0]
    assert [t.id for t in told] == list(range(start + 1, shop.log.head[0] + 1))


def _status(shop: Shop, name: str) -> SetDuty:
    duty = "paused" if name == "away" else "available"
    return SetDuty(id=f"cmd:giulia:{name}", at=shop.now(), clerk="giulia", duty=duty)


def test_a_very_old_position_still_works_and_one_from_the_future_starts_afresh(shop: Shop) -> None:
    token = shop.token("clerk:marco")
    with served(shop) as server:
        with listening(server.url, token, after=0) as events:
            assert next(events).event == "resumed"
            assert [t.id for t in take(events, shop.log.head[0])] == list(range(1, shop.log.head[0] + 1))
        with listening(server.url, token, last_event_id=10**6) as events:
            assert next(events).event == "hello"
        bad = {"authorization": f"Bearer {token}", "last-event-id": "-1"}
        assert httpx.get(f"{server.url}/api/v1/stream", headers=bad).status_code == 422


def test_a_kiosk_hears_only_of_states(shop: Shop) -> None:
    with served(shop) as server, listening(server.url, shop.token("kiosk:kiosk-1")) as events:
        hello = next(events)
        assert "visits" not in hello.data
        shop.scan("K7Q2MX")
        (visit,) = shop.visits()
        told = [next(events), next(events)]
    assert {t.event for t in told} == {"soglia.visit-state.v1"}
    assert [(t.data["visit"], t.data["state"]) for t in told] == [(visit, "arrived"), (visit, "alerted")]


def test_heartbeats_tell_the_time_and_a_revoked_token_ends_the_stream(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.05)
    token = shop.token("clerk:marco")
    with served(shop) as server, listening(server.url, token) as events:
        position = next(events).id
        beats = [next(events) for _ in range(3)]
        assert [(b.event, b.id, b.data["seq"]) for b in beats] == [("heartbeat", None, position)] * 3
        shop.access.revoke(shop.access.list()[-1].id)
        assert all(told.event == "heartbeat" for told in events)  # and it ends


def test_too_many_streams_are_refused(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STREAMS_LIMIT", 1)
    token = shop.token("clerk:marco")
    with served(shop) as server, listening(server.url, token) as events:
        next(events)
        refused = httpx.get(f"{server.url}/api/v1/stream", headers={"authorization": f"Bearer {token}"})
        assert (refused.status_code, refused.json()["reason"]) == (503, "busy")
        assert refused.headers["retry-after"]


def test_a_client_that_does_not_read_holds_up_nobody(shop: Shop) -> None:
    token = shop.token("clerk:marco")
    with served(shop) as server, socket.create_connection(("127.0.0.1", server.port)) as stuck:
        request = f"GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        stuck.sendall(request.encode())
        with listening(server.url, token) as events:
            next(events)
            for number in range(200):
                shop.engine.submit(_pause(shop, number), b"")
            shop.engine.submit(_pause(shop, 200), b"").result(20)
            assert len(take(events, shop.log.head[0])) == 201


def _pause(shop: Shop, number: int) -> SetDuty:
    duty = "available" if number % 2 else "paused"
    return SetDuty(id=f"cmd:giulia:{number}", at=shop.now(), clerk="giulia", duty=duty)


def test_a_long_poll_answers_when_something_happens(shop: Shop) -> None:
    headers = {"authorization": f"Bearer {shop.token('platform')}"}
    with served(shop) as server, ThreadPoolExecutor(1) as threads:
        url = f"{server.url}/api/v1/sync/batches"
        after = httpx.get(url, headers=headers).json()["next"]
        empty = httpx.get(url, headers=headers, params={"after": after, "wait": 0.1}).json()
        assert (empty["count"], empty["next"]) == (0, after)
        started = time.monotonic()
        query = {"after": after, "wait": 25}
        waiting = threads.submit(httpx.get, url, headers=headers, params=query, timeout=60)
        shop.scan("K7Q2MX")
        batch = waiting.result(60).json()
        assert batch["count"] >= 1
        assert time.monotonic() - started < 20


def test_stopping_ends_streams_and_long_polls_at_once(shop: Shop) -> None:
    clerk, platform = shop.token("clerk:marco"), shop.token("platform")
    ended = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        with served(shop) as server, listening(server.url, clerk) as events:
            next(events)
            url, headers = f"{server.url}/api/v1/sync/batches", {"authorization": f"Bearer {platform}"}
            after = httpx.get(url, headers=headers).json()["next"]
            query = {"after": after, "wait": 50}
            poll = threads.submit(httpx.get, url, headers=headers, params=query, timeout=60)
            poll.add_done_callback(lambda done: ended.set())
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < GRACE_SECONDS  # uvicorn alone would wait that long
            assert list(events) == []
        assert ended.wait(30)
