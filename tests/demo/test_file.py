"""Files through the codec in a real browser: compare, sliders, saving, code, keyboard, width."""

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
import soundfile
from conftest import FIXTURES, opened
from serving import ServerProcess
from test_microphone import expect_text, status

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
CLIP = FIXTURES / "speech-047.flac"
KEY = "a-long-secret"


def open_clip(page: "Page", clip: Path = CLIP) -> None:
    expect_text(status(page), "Ready.")
    page.get_by_label("Choose an audio file").set_input_files(clip)
    expect_text(status(page), f"Ready: {clip.name} at 6 kbps")


def decoded(page: "Page") -> list[float]:
    values: list[float] = page.evaluate("[...window.grove.take.decoded.values()]")
    return values


def test_a_file_comes_back_as_the_rest_route_gives_it(page: "Page", server: ServerProcess) -> None:
    open_clip(page)
    reply = httpx.post(server.url + "v1/transcode?format=raw", content=CLIP.read_bytes())
    expected = [
        int.from_bytes(reply.content[i : i + 2], "little", signed=True) / 32_768
        for i in range(0, len(reply.content), 2)
    ]
    assert decoded(page) == expected


def test_moving_the_sliders_sends_the_file_again(page: "Page") -> None:
    open_clip(page)
    best = decoded(page)
    page.get_by_label("Bitrate").fill("1")
    expect_text(status(page), f"Ready: {CLIP.name} at 1 kbps")
    expect_text(page.locator("#bitrate"), "1.0 kbps")
    least = decoded(page)
    page.get_by_label("Packets lost").fill("30")
    expect_text(page.locator("#lost"), re.compile(r"^(2\d|3\d) %$"))
    assert len(best) == len(least)
    assert best != least
    assert decoded(page) != least


def test_switching_while_playing_keeps_the_place(page: "Page") -> None:
    open_clip(page)
    page.get_by_role("button", name="Play").click()
    page.wait_for_timeout(700)
    before = page.evaluate("window.grove.player.position")
    page.get_by_label("A: original").check(force=True)
    page.wait_for_timeout(300)
    gains = page.evaluate("window.grove.player.gains.map((gain) => gain.gain.value)")
    assert gains == pytest.approx([1, 0], abs=0.1)
    assert page.evaluate("window.grove.player.position") > before > 0.3
    page.get_by_role("button", name="Pause").click()
    page.get_by_label("Position").fill("1")
    assert page.evaluate("window.grove.player.position") == 1


def test_all_can_be_done_from_the_keyboard(page: "Page") -> None:
    open_clip(page)
    page.get_by_role("button", name="Play").focus()
    page.keyboard.press("Enter")
    expect_text(page.locator("#play"), "Pause")
    page.keyboard.press("x")
    assert page.get_by_label("A: original").is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("B: through the codec").is_checked()
    page.get_by_label("Bitrate").focus()
    page.keyboard.press("ArrowLeft")
    expect_text(page.locator("#levels-value"), "5 kbps")
    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Python").get_attribute("aria-selected") == "true"
    expect_text(page.get_by_role("tabpanel"), "encode?levels=5")


@pytest.mark.parametrize(("button", "suffix"), [("tokens", ".grv"), ("audio", ".wav")])
def test_downloads_are_what_the_server_takes_and_gives(
    page: "Page", server: ServerProcess, tmp_path: Path, button: str, suffix: str
) -> None:
    open_clip(page)
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download {button}").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name == f"speech-047-grove{suffix}"
    if suffix == ".grv":
        reply = httpx.post(server.url + "v1/decode", content=path.read_bytes())
        path = tmp_path / "back.wav"
        path.write_bytes(reply.content)
    assert soundfile.info(path).frames == soundfile.info(CLIP).frames


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_runs_as_it_stands(
    page: "Page", server: ServerProcess, tmp_path: Path, language: str
) -> None:
    node = shutil.which("node")
    if language == "JavaScript" and node is None:
        pytest.skip("no node here")
    expect_text(status(page), "Ready.")
    page.get_by_label("Bitrate").fill("3")
    page.get_by_role("tab", name=language).click()
    code = page.get_by_role("tabpanel").inner_text()
    samples, rate_hz = soundfile.read(CLIP)
    soundfile.write(tmp_path / "speech.wav", samples, rate_hz)
    script = tmp_path / "script.mjs"
    script.write_text(code)
    commands = {
        "curl": ["sh", "-e", str(script)],
        "Python": [sys.executable, str(script)],
        "JavaScript": [str(node), str(script)],
    }
    subprocess.run(commands[language], cwd=tmp_path, check=True, timeout=60)
    assert soundfile.info(tmp_path / "back.wav").frames == len(samples)
    tokens = (tmp_path / "speech.grv").stat().st_size
    encode = f"{server.url}v1/encode?levels="
    body = (tmp_path / "speech.wav").read_bytes()
    sizes = [len(httpx.post(f"{encode}{levels}", content=body).content) for levels in (3, 6)]
    assert tokens == sizes[0] < sizes[1]


def test_what_is_no_audio_is_explained(page: "Page", tmp_path: Path) -> None:
    expect_text(status(page), "Ready.")
    path = tmp_path / "notes.wav"
    path.write_text("no audio")
    page.get_by_label("Choose an audio file").set_input_files(path)
    expect_text(page.get_by_role("alert"), "This browser cannot read notes.wav")
    page.get_by_label("Choose an audio file").set_input_files(CLIP)
    expect_text(status(page), f"Ready: {CLIP.name}")
    assert page.locator("#alert").is_hidden()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_fits_its_window(page: "Page", width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_clip(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        """[...document.querySelectorAll("button, .file, .switch label")]
           .filter((one) => one.offsetHeight > 0 && one.offsetHeight < 40).map((one) => one.id)"""
    )
    assert small == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    settings = {"GROVE_SLOTS": "4", "GROVE_API_KEYS": f'["alice:{digest}"]'}
    with ServerProcess(tmp_path_factory.mktemp("state"), settings) as running:
        yield running


@pytest.fixture
def guarded_page(browser: "Browser", guarded: ServerProcess) -> "Iterator[Page]":
    yield from opened(browser, guarded.url)


def test_a_server_with_keys_asks_for_one(guarded_page: "Page") -> None:
    page = guarded_page
    expect_text(status(page), "Enter your key")
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Use it").click()
    expect_text(page.get_by_role("alert"), "does not take this key")
    page.get_by_label("API key").fill(KEY)
    page.get_by_role("button", name="Use it").click()
    open_clip(page)
    assert page.get_by_label("API key").is_hidden()
