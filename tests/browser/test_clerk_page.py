"""The clerk's page in a real browser, over the real engine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.rigs.chromium import CHROMIUM, launch
from tests.rigs.fake_services import Shop, people, served, until

SECONDS = 30_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=SECONDS)
    with sync_playwright() as playwright, launch(playwright) as browser:
        yield browser


@pytest.fixture
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.put_records(*people(shop.now()))
    yield shop
    shop.close()


class Tablet:
    """A clerk's tablet, signed in by link. `wrong` collects what the page's console complained of."""

    def __init__(self, browser: Browser, url: str, token: str) -> None:
        self._context = browser.new_context(viewport={"width": 1280, "height": 800})
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.wrong: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", lambda said: self._complained(said.type, said.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: self._requested(asked.url, url))
        self.page.goto(f"{url}/clerk/sign-in#{token}")
        expect(self.page.locator("#link-text")).to_have_text("Live")

    def close(self) -> None:
        self._context.close()

    def _complained(self, kind: str, text: str) -> None:
        if kind == "error" and "net::ERR_" not in text:  # the network's own errors are the test's doing
            self.wrong.append(text)

    def _requested(self, asked: str, url: str) -> None:
        if not asked.startswith((url, "data:")):
            self.foreign.append(asked)


@pytest.fixture
def tablets(browser: Browser) -> Iterator[list[Tablet]]:
    opened: list[Tablet] = []
    yield opened
    for tablet in opened:
        assert tablet.wrong == []
        assert tablet.foreign == []
        tablet.close()


def test_an_arrival_from_alert_to_done(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        assert "#" not in page.url
        expect(page.get_by_role("heading", name="All quiet")).to_be_visible()

        shop.scan("K7Q2MX")
        card = page.locator("#visitor")
        expect(card.get_by_role("heading", level=1)).to_have_text("Anna")
        expect(card.locator(".why")).to_contain_text("Gave the booking code, expected about now.")
        expect(page.locator("#announce")).to_contain_text("Anna is here.")
        expect(page.locator(".row.waiting")).to_have_count(1)
        (visit,) = shop.visits()
        until(lambda: all(alert.redeliver_at is None for alert in shop.engine.state.visits[visit].alerts))

        card.get_by_role("button", name="Coming").click()
        expect(page.get_by_role("button", name="Greeted")).to_be_visible()
        expect(card.get_by_role("heading", level=1)).to_have_text("Anna Bianchi")
        expect(page.locator(".touch")).to_contain_text("Décolleté Brera")
        expect(page.locator(".touch-price")).to_contain_text("€119.00")
        expect(page.locator(".touch-price")).to_contain_text("€129.00")
        expect(page.locator(".stock")).to_have_text("2 in store")

        page.get_by_role("button", name="Greeted").click()
        expect(page.get_by_role("button", name="Done")).to_be_visible()
        page.reload()
        expect(page.locator("#visitor").get_by_role("heading", level=1)).to_have_text("Anna Bianchi")
        expect(page.locator(".touch")).to_have_count(1)

        page.get_by_role("button", name="Done").click()
        page.get_by_role("button", name="Bought").click()
        expect(page.get_by_role("heading", name="All quiet")).to_be_visible()
        closed = shop.engine.state.visits[visit]
        assert (closed.status, closed.outcome) == ("closed", "sold")
        views = [row.action for row in shop.directory.audit_rows()]
        assert views == ["dossier", "dossier"]  # once after Coming, once after the reload


def test_a_colleague_sees_who_has_taken_it(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        tablets.append(Tablet(browser, server.url, shop.token("clerk:giulia")))
        marco, giulia = (tablet.page for tablet in tablets)
        giulia.get_by_role("button", name="Store", exact=True).click()
        shop.scan("K7Q2MX")
        giulia.locator(".row", has_text="Anna").click()
        expect(giulia.locator("#visitor")).to_contain_text("Anna")
        marco.get_by_role("button", name="Coming").click()
        expect(giulia.locator("#dossier")).to_have_text(re.compile(r"Taken by Marco Rossi\."))
        expect(giulia.locator(".row", has_text="Anna")).to_contain_text("Taken by Marco Rossi")
        expect(giulia.locator(".actions")).to_have_count(0)
        giulia.get_by_role("button", name="Mine", exact=True).click()
        expect(giulia.locator(".row")).to_have_count(0)


def test_offline_and_back_without_a_touch(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        port = server.port
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        expect(page.locator("#banner")).to_be_hidden()  # the control
        shop.scan("K7Q2MX")
        expect(page.locator(".row.waiting")).to_have_count(1)
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#banner")).to_contain_text("Offline.")
    expect(page.locator("#link")).to_have_attribute("data-state", "offline")

    # A touch while the gateway is away is not lost: it is sent until it has been answered.
    page.get_by_role("button", name="Coming").click()
    expect(page.locator(".actions")).to_contain_text("Waiting for the gateway")
    shop.tap("04C13D52AA6F81")
    with served(shop, port):
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.get_by_role("button", name="Greeted")).to_be_visible()
        expect(page.locator(".row")).to_have_count(2)
        expect(page.locator(".row", has_text="<b>Luca</b>")).to_be_visible()


def test_somebody_is_here(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        page.get_by_role("button", name="Somebody is here").click()
        page.get_by_label("Name").fill("bian")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Anna Bianchi").click()
        expect(page.locator("#visitor").get_by_role("heading", level=1)).to_have_text("Anna")
        page.get_by_role("button", name="Somebody is here").click()
        page.get_by_label("Somebody we do not know, at").select_option("bags")
        page.get_by_role("button", name="Open a walk-in").click()
        expect(page.locator("#visitor").get_by_role("heading", level=1)).to_have_text("Walk-in at Bags")


def test_it_works_from_the_keyboard_with_targets_big_enough_to_touch(
    browser: Browser, shop: Shop, tablets: list[Tablet]
) -> None:
    with served(shop) as server:
        shop.scan("K7Q2MX")
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        expect(page.get_by_role("button", name="Coming")).to_be_visible()
        for button in page.locator("button:visible, select:visible").all():
            box = button.bounding_box()
            assert box is not None
            assert box["height"] >= 44, button.inner_text()
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.action") == "coming":
                break
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Greeted")).to_be_focused()


def test_sound_is_on_after_a_touch(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        expect(page.locator("#sound")).to_have_text("Tap to enable sound")
        page.locator("#sound").click()
        expect(page.locator("#sound")).to_have_text("Sound on")
        page.locator("#sound").click()
        expect(page.locator("#sound")).to_have_text("Tap to enable sound")


def test_a_revoked_tablet_is_sent_to_sign_in(browser: Browser, shop: Shop, tablets: list[Tablet]) -> None:
    with served(shop) as server:
        tablets.append(Tablet(browser, server.url, shop.token("clerk:marco")))
        page = tablets[0].page
        shop.access.revoke(shop.access.list()[-1].id)
        shop.scan("K7Q2MX")
        expect(page.locator("#sign-in")).to_be_visible()
        tablets[0].wrong.clear()  # the browser notes the 401 itself
