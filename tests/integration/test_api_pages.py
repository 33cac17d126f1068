"""The pages: everything they load is our own, nothing is inline, and a name stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.api import openapi
from gateway.core.matching import REASONS, Kind
from gateway.core.states import STATUSES
from gateway.web import words
from gateway.web.screen import STATIC, Screen, waited
from tests.rigs.fake_services import Shop, people, served

# The contract's table, as far as this release serves it.
CONTRACT = [
    ("post", "/api/v1/reads"),
    ("get", "/api/v1/visits"),
    ("get", "/api/v1/visits/{visit}"),
    ("post", "/api/v1/visits"),
    ("get", "/api/v1/agenda"),
    ("get", "/api/v1/visitors"),
    ("put", "/api/v1/clerks/me/status"),
    ("post", "/api/v1/visits/{visit}/commands"),
    ("get", "/api/v1/visits/{visit}/dossier"),
    ("get", "/api/v1/stream"),
    ("put", "/api/v1/sync/directory"),
    ("get", "/api/v1/sync/batches"),
    ("get", "/api/v1/sync/keys"),
    ("post", "/api/v1/sync/ack"),
    ("post", "/api/v1/hooks/{name}"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/metrics"),
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    shop.scan("K7Q2MX")
    shop.tap("04C13D52AA6F81")
    yield shop
    shop.close()


@pytest.fixture(scope="module")
def browser(shop: Shop) -> Iterator[httpx.Client]:
    cookies = {"soglia-clerk": shop.token("clerk:marco")}
    with served(shop) as server, httpx.Client(base_url=server.url, cookies=cookies) as client:
        yield client


def pages(shop: Shop, browser: httpx.Client) -> Iterator[httpx.Response]:
    paths = ["/clerk", "/clerk/queue?show=store", "/clerk/sign-in", "/api/docs"]
    paths += [f"/clerk/visits/{visit}" for visit in shop.visits()]
    paths += [f"/static/{file.name}" for file in STATIC.iterdir()]
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 200, path
        yield answer


def test_nothing_comes_from_anywhere_else(shop: Shop, browser: httpx.Client) -> None:
    for page in pages(shop, browser):
        text = page.text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(https?:)?//[a-z0-9-]+\.[a-z]""", text), page.url
        for loaded in re.findall(r"""(?<![\w-])(?:src|href|action)="([^"]*)\"""", text):
            assert loaded.startswith(("/", "#")), (page.url, loaded)


def test_nothing_is_inline_and_the_policy_forbids_it(shop: Shop, browser: httpx.Client) -> None:
    for page in pages(shop, browser):
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["cache-control"] in ("no-store", "no-cache")
        if page.headers["content-type"].startswith("text/html"):
            assert page.headers["cache-control"] == "no-store"
            assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=", page.text), page.url


def test_a_name_stays_text(shop: Shop, browser: httpx.Client) -> None:
    queue = browser.get("/clerk/queue?show=store").text
    assert "&lt;b&gt;Luca&lt;/b&gt;" in queue
    assert "<b>Luca" not in queue


def test_the_queue_says_who_waits_where_and_why(shop: Shop, browser: httpx.Client) -> None:
    page = browser.get("/clerk").text
    assert "Bottega Soglia" in page
    assert "Marco Rossi" in page
    assert "Gave the booking code, expected about now." in page
    assert 'data-action="coming"' in page
    assert "Bianchi" not in page  # the family name comes with the dossier


def test_pieces_need_the_cookie(shop: Shop, browser: httpx.Client) -> None:
    url = str(browser.base_url)
    assert httpx.get(f"{url}/clerk/queue").status_code == 401
    assert httpx.get(f"{url}/clerk").headers["location"] == "/clerk/sign-in"
    assert httpx.get(url).headers["location"] == "/clerk"
    visit = shop.visits()[0]
    assert browser.get(f"/clerk/visits/{visit}/dossier").status_code == 403
    assert browser.get("/clerk/visits/visit-0").status_code == 404


def test_every_slug_of_the_core_has_words() -> None:
    assert set(words.REASONS) == set(REASONS)
    assert set(words.STATES) == set(STATUSES)
    assert set(words.MATCHES) == {kind.value for kind in Kind}


def test_words() -> None:
    assert words.why(()) == ""
    assert words.why(("owner", "brand_new-reason")) == "Recognised at the door, brand new reason."
    assert words.language("it-IT") == "Italian"
    assert words.language("tlh") == "tlh"
    assert (words.colour("Rosso Ferrari"), words.colour("mauve")) == ("red", "")
    assert words.money({"amount": "129.00", "currency": "EUR"}) == "€129.00"
    assert words.money({"amount": "5", "currency": "SEK"}) == "SEK 5"
    assert words.money(None) == ""


def test_waits_and_times_in_the_store(shop: Shop) -> None:
    now = shop.now().replace(year=2026, month=11, day=22, hour=10, minute=0, second=0, microsecond=0)
    assert [waited(f"2026-11-22T{at}Z", now) for at in ("09:59:55", "09:59:15", "09:58:30", "08:15:00")] == [
        ("just now", "calm"),
        ("45 s", "calm"),
        ("1 min", "warm"),
        ("1 h 45 min", "hot"),
    ]
    screen = Screen("Shop", "Europe/Rome")
    assert screen.clock("2026-11-22T09:00:00Z") == "10:00"
    assert screen.day_and_clock("2026-11-21T23:30:00Z", now) == "Today 00:30"
    assert screen.day_and_clock("2026-11-21T12:00:00Z", now) == "Yesterday 13:00"
    assert screen.day_and_clock("last week", now) == "last week"


def test_the_openapi_document_is_current_and_covers_the_contract(browser: httpx.Client) -> None:
    written = openapi.PATH.read_text("utf-8")
    assert written == openapi.document(), "run `python -m gateway.api.openapi`"
    document = json.loads(written)
    assert browser.get("/openapi.json").json() == document
    served_routes = {(method, path) for path, item in document["paths"].items() for method in item}
    assert served_routes == set(CONTRACT)
    for path, item in document["paths"].items():
        for operation in item.values():
            for status, response in operation["responses"].items():
                kinds = set(response.get("content", {}))
                if int(status) >= 400 and path != "/readyz":
                    assert kinds == {"application/problem+json"}, (path, status)


def test_the_documentation_page_lists_every_route(browser: httpx.Client) -> None:
    page = browser.get("/api/docs").text
    for _, path in CONTRACT:
        assert f"<code>{path}</code>" in page


def test_every_static_file_is_loaded_by_something() -> None:
    templates = "".join(file.read_text("utf-8") for file in (STATIC.parent / "templates").iterdir())
    modules = "".join(file.read_text("utf-8") for file in STATIC.glob("*.js"))
    for file in STATIC.iterdir():
        assert f"/static/{file.name}" in templates or f'"./{file.name}"' in modules, file.name
    for name in re.findall(r'getElementById\("([\w-]+)"\)|\$\("([\w-]+)"\)', modules):
        assert f'id="{name[0] or name[1]}"' in templates, name


def test_the_modules_are_plain_javascript() -> None:
    # Nothing that needs a build: no bare imports, no types.
    for file in Path(STATIC).glob("*.js"):
        for source in re.findall(r'from "([^"]+)"', file.read_text("utf-8")):
            assert source.startswith("./"), (file.name, source)
