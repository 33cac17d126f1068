"""Debian's Chromium, headless and without a word to anybody outside."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright: Playwright) -> Browser:
    """A browser; a context manager that closes it."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
