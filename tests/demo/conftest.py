"""A real browser with a fake microphone, a real server, and a line that can be cut."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from line import CuttableLine
from serving import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

    Launch = Callable[..., Browser]

FIXTURES = Path(__file__).parent.parent / "fixtures"
VIEW = {"width": 1280, "height": 1000}
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Browsers are asked for by name: `pytest -m browser tests/demo`."""
    is_test = collection_path.name.startswith("test_")
    return True if is_test and "browser" not in config.option.markexpr else None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "browser: needs Chromium and playwright")


def chromium_path() -> str:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.fail("no chromium on the path; on Debian: apt-get install chromium")
    return chromium


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("state"), {"GROVE_SLOTS": "4"}) as running:
        yield running


@pytest.fixture(scope="session")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium plays into its fake microphone, over and over."""
    names = ("speech-052", "speech-047", "music-009")
    pieces = [soundfile.read(FIXTURES / f"{name}.flac", dtype="float32")[0] for name in names]
    path = tmp_path_factory.mktemp("microphone") / "microphone.wav"
    soundfile.write(path, np.concatenate(pieces), 24_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def launch() -> "Iterator[Launch]":
    """Start Chromium with flags of one's own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this step needs it

    with sync_playwright() as playwright:
        yield lambda *flags: playwright.chromium.launch(
            executable_path=chromium_path(), args=[*FLAGS, *flags]
        )


@pytest.fixture(scope="session")
def browser(launch: "Launch", microphone: Path) -> "Iterator[Browser]":
    with launch(
        "--use-fake-ui-for-media-stream",
        "--autoplay-policy=no-user-gesture-required",
        f"--use-file-for-fake-audio-capture={microphone}",
    ) as made:
        yield made


@pytest.fixture
def page(browser: "Browser", server: ServerProcess) -> "Iterator[Page]":
    yield from opened(browser, server.url)


@pytest.fixture
def line(server: ServerProcess) -> Iterator[CuttableLine]:
    with CuttableLine(server.port) as made:
        yield made


@pytest.fixture
def page_over_line(browser: "Browser", line: CuttableLine) -> "Iterator[Page]":
    yield from opened(browser, line.url)


def opened(
    browser: "Browser | BrowserContext", url: str, prepare: "Callable[[Page], None] | None" = None
) -> "Iterator[Page]":
    """Open the page; a script error fails the test that caused it."""
    page = browser.new_page()
    page.set_viewport_size(VIEW)
    page.set_default_navigation_timeout(120_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    if prepare:
        prepare(page)
    page.goto(url)
    yield page
    page.close()
    assert errors == []
