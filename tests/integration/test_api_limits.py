"""What nobody may send, and what everybody is then told: a problem document, never a stack trace."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.api.limits import DEPTH_LIMIT, HOOK_LIMIT, JSON_LIMIT, PICTURE_LIMIT, parse
from gateway.api.problems import Problem
from gateway.api.services import Health
from tests.rigs.fake_services import Shop, people, served

STATUS = "/api/v1/clerks/me/status"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def clerk(shop: Shop) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {shop.token('clerk:marco')}"}
    with served(shop) as server, httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    body = answer.json()
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:soglia:problem:{body['reason']}"
    assert body["title"]
    assert "Traceback" not in answer.text
    return answer.status_code, body["detail"]


def put(clerk: httpx.Client, body: bytes) -> httpx.Response:
    return clerk.put(STATUS, content=body, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"status":', "not JSON"),
        (b'{"status":"\xff"}', "not UTF-8 at byte 11"),
        (b"[" * 60_000, "nested deeper"),
        (b'{"a":' * (DEPTH_LIMIT + 1) + b"1" + b"}" * (DEPTH_LIMIT + 1), "nested deeper"),
        (b'{"status":"available","note":"a\\u0000b"}', "NUL"),
        (b'{"status":"available","note":"\\ud800"}', "surrogate"),
        (b'{"status":"available","note":NaN}', "NaN"),
        (b'{"status":"available","note":' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_unusable_json_is_a_400(clerk: httpx.Client, body: bytes, says: str) -> None:
    status, detail = problem(put(clerk, body))
    assert status == 400
    assert says in detail


def test_the_deepest_json_allowed_passes() -> None:
    # The value itself is the last level.
    text = b'{"a":' * (DEPTH_LIMIT - 1) + b"1" + b"}" * (DEPTH_LIMIT - 1)
    assert parse(text)
    with pytest.raises(Problem):
        parse(b'{"a":' + text + b"}")


def test_the_control_is_accepted(clerk: httpx.Client) -> None:
    assert put(clerk, '{"status":"available","note":"però"}'.encode()).status_code == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "status: field required"),
        (b'{"status":"asleep"}', "status: input should be 'available', 'paused' or 'off-shift'"),
        (b'{"status":"available","id":"a b"}', "id: string should match pattern"),
        (b'"available"', "input should be a valid dictionary"),
        (b"", "field required"),
    ],
)
def test_a_wrong_field_is_a_422_that_names_it(clerk: httpx.Client, body: bytes, says: str) -> None:
    status, detail = problem(put(clerk, body))
    assert status == 422
    assert says in detail


def test_json_without_its_content_type_is_not_read(clerk: httpx.Client) -> None:
    answer = clerk.put(STATUS, content=b'{"status":"available"}', headers={"content-type": "text/plain"})
    assert problem(answer)[0] == 422


@pytest.mark.parametrize(
    ("path", "kind", "limit"),
    [
        (STATUS, "application/json", JSON_LIMIT),
        ("/api/v1/reads", "application/json", JSON_LIMIT),
        ("/api/v1/reads", "multipart/form-data; boundary=b", PICTURE_LIMIT),
        ("/api/v1/hooks/calcom", "application/json", HOOK_LIMIT),
        ("/clerk/sign-in", "application/x-www-form-urlencoded", JSON_LIMIT),
    ],
)
def test_a_body_that_is_too_large_is_refused_while_it_arrives(
    clerk: httpx.Client, path: str, kind: str, limit: int
) -> None:
    method = "PUT" if path == STATUS else "POST"
    declared = clerk.request(method, path, content=b"x" * (limit + 1), headers={"content-type": kind})
    assert problem(declared) == (413, f"The body is larger than {limit} bytes.")

    def endless() -> Iterator[bytes]:  # chunked: no length is declared
        for _ in range(limit // 65536 + 2):
            yield b"x" * 65536

    streamed = clerk.request(method, path, content=endless(), headers={"content-type": kind})
    assert problem(streamed)[0] == 413


def test_unknown_addresses_and_methods_are_problems_too(clerk: httpx.Client) -> None:
    assert problem(clerk.get("/nowhere"))[0] == 404
    assert problem(clerk.get("/static/nothing.js"))[0] == 404
    assert problem(clerk.get("/static/../words.py"))[0] == 404
    answer = clerk.delete(STATUS)
    assert problem(answer)[0] == 405
    assert answer.headers["allow"] == "PUT"
    assert problem(clerk.get("/docs"))[0] == 404  # FastAPI's own page loads scripts from the internet


def test_a_mistake_of_ours_is_a_500_without_a_stack_trace(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> Health:
        raise ZeroDivisionError("a secret in the message")

    with served(shop, health=broken) as server:
        answer = httpx.get(f"{server.url}/readyz")
    assert problem(answer)[0] == 500
    assert "secret" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "GET /readyz failed" in caplog.text
