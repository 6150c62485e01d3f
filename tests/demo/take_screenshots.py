"""Photograph the demo page with a recording coded at 3 kbps.

    make demo-test                                   # once: installs the browser's driver
    .venv/bin/python tests/demo/take_screenshots.py FOLDER

FOLDER gets the page at the widths below, light and dark, and `demo.png`, the README's picture.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import FIXTURES, chromium_path
from playwright.sync_api import expect, sync_playwright
from serving import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLIP = FIXTURES / "speech-047.flac"
WIDTHS = (360, 390, 768, 1280)
README_WIDTH = 1280


@contextmanager
def coded_page(browser: "Browser", url: str, width: int, scheme: str) -> "Iterator[Page]":
    """The page of that width after a clip went through the codec at 3 kbps."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(url)
    expect(page.locator("#status")).to_contain_text("Ready.", timeout=20_000)
    page.get_by_label("Bitrate").fill("3")
    page.get_by_label("Choose an audio file").set_input_files(CLIP)
    expect(page.locator("#status")).to_contain_text("at 3 kbps", timeout=20_000)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)  # one more frame of the canvases
    yield page
    page.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as state_dir,
        ServerProcess(Path(state_dir), {"GROVE_SLOTS": "4"}) as server,
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium_path(), args=["--headless=new", "--no-sandbox"]
        ) as browser,
    ):
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                with coded_page(browser, server.url, width, scheme) as page:
                    page.screenshot(path=folder / f"{width}-{scheme}.png", full_page=True)
        with coded_page(browser, server.url, README_WIDTH, "light") as page:
            page.screenshot(path=folder / "demo.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
