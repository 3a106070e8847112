"""The drawing, pixel by pixel: six scenes as they were when somebody looked at them (`make scenes` renews them)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.scenes import BUILT, NAMES, REFERENCES, build, difference, draw, stage

pytestmark = pytest.mark.browser
# Another Chromium smooths edges a little otherwise.
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def scenes(browser: Browser) -> Iterator[Page]:
    """A page with all scenes."""
    build()
    with stage(browser) as page:
        yield page


def test_every_scene_has_its_reference(scenes: Page) -> None:
    assert set(scenes.evaluate("Object.keys(window.scenes.all)")) == set(NAMES)
    assert {file.stem for file in REFERENCES.glob("*.png")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_looks_as_it_did(scenes: Page, name: str) -> None:
    now = draw(scenes, name)
    share, marked = difference(scenes, (REFERENCES / f"{name}.png").read_bytes(), now)
    if share > TOLERANCE:
        (BUILT / f"{name}.png").write_bytes(now)
        (BUILT / f"{name}-difference.png").write_bytes(marked)
    assert share <= TOLERANCE, f"{share:.2%} of {name} differ: see {BUILT}/{name}-difference.png"
