"""How the tests and benchmarks start Chromium and log in."""

from __future__ import annotations

import shutil

from playwright.sync_api import Page

from lab.stack import Access

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str:
    """Find the system's Chromium."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert path, f"no browser found; install one of {', '.join(NAMES)}"
    return path


def log_in(page: Page, access: Access) -> None:
    """Log in through the form, and wait for the live map."""
    page.goto(access.url)
    page.fill("input[name=username]", access.user)
    page.fill("input[name=password]", access.password)
    page.click("button[type=submit]")
    page.wait_for_selector("[data-testid=connection][data-state=live]")
