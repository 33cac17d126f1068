"""The platform's routes: the directory coming in, batches going out byte for byte, and webhooks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api import platform
from gateway.api.ndjson import Lines
from gateway.api.platform import accepts_gzip
from tests.rigs.fake_services import Shop, people, served


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    yield shop
    shop.close()


@pytest.fixture
def central(shop: Shop) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {shop.token('platform')}", "accept-encoding": "identity"}
    with served(shop) as server:
        url = f"{server.url}/api/v1"
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            yield client


def clerk_line(number: int, version: int = 1) -> bytes:
    return json.dumps({"kind": "clerk", "id": f"c-{number}", "version": version}).encode()


def test_the_directory_lands_and_a_repeat_changes_nothing(shop: Shop, central: httpx.Client) -> None:
    body = b"\n".join(json.dumps(record).encode() for record in people(shop.now()))
    first = central.put("/sync/directory", content=body)
    assert first.json() == {"accepted": 6, "unchanged": 0, "stale": 0, "quarantined": []}
    assert central.put("/sync/directory", content=body + b"\n").json()["unchanged"] == 6
    assert sorted(shop.engine.state.clerks) == ["giulia", "marco"]
    assert central.put("/sync/directory", content=b"").json()["accepted"] == 0


def test_a_bad_line_is_quarantined_under_its_own_number(
    central: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "CHUNK_LINES", 3)
    lines = [clerk_line(n) for n in range(10)]
    lines[4] = b"not json"
    lines[7] = b""
    lines[8] = b'{"kind":"clerk","id":"c-8","version":1,"name":"' + b"x" * platform.LINE_LIMIT + b'"}'

    def pieces() -> Iterator[bytes]:
        body = b"\n".join(lines)
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    answer = central.put("/sync/directory", content=pieces()).json()
    assert answer["accepted"] == 7
    assert [bad["line"] for bad in answer["quarantined"]] == [5, 9]


def test_a_directory_beyond_the_limit_is_refused(
    central: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "DIRECTORY_LIMIT", 1000)
    answer = central.put("/sync/directory", content=b"x" * 1001)
    assert (answer.status_code, answer.json()["reason"]) == (413, "too-large")


@given(st.lists(st.binary(max_size=30), max_size=8), st.lists(st.integers(1, 12)), st.integers(5, 40))
def test_lines_do_not_depend_on_how_they_arrive(lines: list[bytes], cuts: list[int], limit: int) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    body = b"\n".join([*lines, b""]) if lines else b""
    splitter, found = Lines(limit), []
    for cut in cuts:
        found += splitter.feed(body[:cut])
        body = body[cut:]
    found += splitter.feed(body) + splitter.end()
    assert found == [line[: limit + 1] for line in lines]


def test_a_batch_is_the_stored_bytes(shop: Shop, central: httpx.Client) -> None:
    shop.put_records(*people(shop.now()))
    shop.scan("K7Q2MX")
    stored = [sealed.body for sealed in shop.log.read(0, 100)]
    answer = central.get("/sync/batches")
    assert b'"events":[' + b",".join(stored) + b"]" in answer.content
    assert "content-encoding" not in answer.headers
    batch = answer.json()
    assert (batch["first_seq"], batch["last_seq"], batch["count"]) == (1, len(stored), len(stored))
    assert list(batch)[:7] == ["store", "epoch", "first_seq", "last_seq", "count", "prev_hash", "hash"]
    assert central.get("/sync/batches").content == answer.content

    lines = central.get("/sync/batches", headers={"accept": "application/x-ndjson"})
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    header, *events, end = lines.content.split(b"\n")
    assert (events, end) == (stored, b"")
    assert json.loads(header) == {key: value for key, value in batch.items() if key != "events"}


def test_a_big_batch_is_compressed_for_who_asks(shop: Shop, central: httpx.Client) -> None:
    central.put("/sync/directory", content=b"\n".join(clerk_line(n) for n in range(120)))
    plain = central.get("/sync/batches")
    assert len(plain.content) > platform.COMPRESS_FROM
    with central.stream("GET", "/sync/batches", headers={"accept-encoding": "br, gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    small = central.get("/sync/batches?limit=1", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in small.headers


@pytest.mark.parametrize(
    ("header", "yes"),
    [
        ("gzip", True),
        ("br;q=1, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("", False),
        ("x-gzip-ish", False),
    ],
)
def test_accept_encoding(header: str, yes: bool) -> None:
    assert accepts_gzip(header) is yes


def test_pull_and_acknowledge(shop: Shop, central: httpx.Client) -> None:
    central.put("/sync/directory", content=b"\n".join(clerk_line(n) for n in range(5)))
    first = central.get("/sync/batches?limit=2").json()
    second = central.get("/sync/batches", params={"after": first["next"], "limit": 2}).json()
    assert (second["first_seq"], second["prev_hash"]) == (3, first["hash"])
    acknowledged = central.post("/sync/ack", json={"cursor": first["next"]})
    assert acknowledged.json() == {"acknowledged_seq": 2}
    (key,) = central.get("/sync/keys").json()["keys"]
    assert key["key_id"] == first["key_id"]
    assert key["algorithm"] == "Ed25519"


def test_cursors_that_are_not_ours(central: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> None:
    for answer in (
        central.get("/sync/batches?after=made-up"),
        central.post("/sync/ack", json={"cursor": "made-up"}),
    ):
        assert (answer.status_code, answer.json()["reason"]) == (400, "cursor-invalid")
    for query in ("limit=0", "limit=5001", "limit=many", "wait=-1", "wait=61"):
        answer = central.get(f"/sync/batches?{query}")
        assert answer.status_code == 422
        assert query.partition("=")[0] in answer.json()["detail"]


def test_a_webhook_is_handed_over_raw(shop: Shop, central: httpx.Client) -> None:
    raw = b'{"not": "parsed",\xff'
    headers = {"X-Cal-Signature-256": "right", "content-type": "application/json"}
    bare = httpx.post(f"{central.base_url}hooks/calcom", content=raw, headers=headers)
    assert (bare.status_code, bare.json()) == (200, {"accepted": 1})
    ((body, seen),) = shop.hooked
    assert body == raw
    assert seen["x-cal-signature-256"] == "right"
    wrong = httpx.post(f"{central.base_url}hooks/calcom", content=raw)
    assert (wrong.status_code, wrong.json()["reason"]) == (401, "signature-invalid")
    nobody = httpx.post(f"{central.base_url}hooks/nobody", content=raw)
    assert (nobody.status_code, nobody.json()["reason"]) == (404, "unknown-hook")
    assert len(shop.hooked) == 1
