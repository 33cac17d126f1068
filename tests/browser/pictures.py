"""The README's pictures, taken of the demo store as it runs: `python -m tests.browser.pictures`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from tests.rigs.chromium import launch

FOLDER = Path(__file__).resolve().parent / "pictures"
TABLET = {"width": 1280, "height": 800}


def main() -> None:
    """Open the demo, be Marco, and photograph what he sees."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        command = [Path(sys.executable).with_name("soglia"), "run", "--demo", "--json", "--dir", folder]
        shop = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert shop.stdout is not None
        try:
            told = json.loads(shop.stdout.readline())
            with sync_playwright() as playwright, launch(playwright) as chromium:
                page = chromium.new_page(viewport=TABLET)
                page.goto(f"{told['api']}/clerk/sign-in#{told['tokens']['clerk:marco']}")
                take(page)
        finally:
            shop.terminate()
            shop.wait(20)
            shop.stdout.close()


def take(page: Page) -> None:
    """Anna's arrival: before Marco has said anything, and once he has."""
    page.get_by_role("button", name="Coming").wait_for(timeout=15_000)
    page.screenshot(path=FOLDER / "arrival.png")
    page.get_by_role("button", name="Coming").click()
    page.get_by_role("heading", name="What Anna looked at").wait_for()
    page.wait_for_timeout(500)  # the card's transition
    page.screenshot(path=FOLDER / "clerk.png")


if __name__ == "__main__":
    main()
