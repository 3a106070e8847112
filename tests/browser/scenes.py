"""Six scenes drawn from made-up data (frontend/dev/scenes.ts), as pixels.

`python -m tests.browser.scenes` (`make scenes`) writes their references anew; look at each before committing it. A
scene that differs leaves its picture, and its differences in red, in var/scenes.
"""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.chromium import ARGUMENTS, chromium_path

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = ROOT / "tests" / "data" / "scenes"
BUILT = ROOT / "var" / "scenes"
NAMES = ("tiles", "cards", "pods", "links", "path", "failure")


def build() -> None:
    """Bundle the scenes with their font."""
    subprocess.run([sys.executable, ROOT / "scripts" / "setup.py", "npm", "run", "scenes"], check=True)


@contextmanager
def stage(browser: Browser) -> Iterator[Page]:
    """A page that shows scenes, and asks nobody for anything."""
    context = browser.new_context(viewport={"width": 900, "height": 600}, reduced_motion="reduce")
    page = context.new_page()
    page.set_content("<!doctype html><title>scenes</title>")
    page.add_style_tag(path=BUILT / "scenes.css")
    page.add_script_tag(path=BUILT / "scenes.js")
    yield page
    context.close()


def draw(page: Page, name: str) -> bytes:
    """Draw a scene. Returns its picture, a PNG."""
    page.evaluate("(name) => window.scenes.show(name)", name)
    return page.locator(".scene").screenshot()


def difference(page: Page, reference: bytes, now: bytes) -> tuple[float, bytes]:
    """Compare two pictures: the share of pixels that differ, 0 to 1, and a picture of them."""
    texts = [base64.b64encode(png).decode() for png in (reference, now)]
    found = page.evaluate("([before, now]) => window.scenes.compare(before, now)", texts)
    return found["share"], base64.b64decode(found["picture"].partition(",")[2])


def main() -> None:
    """Write all references anew."""
    build()
    REFERENCES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        with stage(browser) as page:
            for name in NAMES:
                file = REFERENCES / f"{name}.png"
                before = file.read_bytes() if file.exists() else b""
                now = draw(page, name)
                share = difference(page, before, now)[0] if before else 1.0
                file.write_bytes(now)
                print(f"{file.relative_to(ROOT)}: {share:.2%} of its pixels differ from before")
        browser.close()


if __name__ == "__main__":
    main()
