"""The microphone through the codec in a real browser, and what can go wrong with it."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from conftest import opened
from line import CuttableLine
from serving import ServerProcess
from websockets.sync.client import connect

if TYPE_CHECKING:
    from conftest import Launch
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser
WAIT_MS = 20_000
LOUD = "Math.max(...window.grove.take.decoded.values().slice(-48000).map(Math.abs))"


def status(page: "Page") -> "Locator":
    return page.locator("#status")


def expect_text(locator: "Locator", text: str | re.Pattern[str]) -> None:
    from playwright.sync_api import expect  # noqa: PLC0415 - only this step needs it

    expect(locator).to_contain_text(text, timeout=WAIT_MS)


def record(page: "Page", ready: str = "Ready.") -> None:
    expect_text(status(page), ready)
    page.get_by_role("button", name="Start the microphone").click()
    page.get_by_role("button", name="Stop the microphone").wait_for(timeout=WAIT_MS)


def frames(page: "Page") -> int:
    return int(page.evaluate("window.grove.take.tokens.frames"))


def wait_for_frames(page: "Page", count: int) -> None:
    deadline_s = time.monotonic() + WAIT_MS / 1000
    while (made := frames(page)) < count:
        assert time.monotonic() < deadline_s, f"{made} frames, expected {count}"
        page.wait_for_timeout(100)


def stop(page: "Page") -> None:
    page.get_by_role("button", name="Stop the microphone").click()
    expect_text(status(page), re.compile(r"^Recorded \d"))


def test_the_microphone_becomes_tokens_and_audio(page: "Page") -> None:
    record(page)
    wait_for_frames(page, 150)
    page.wait_for_timeout(300)
    assert page.evaluate(LOUD) > 0.01
    assert page.locator("#bitrate").inner_text() == "6.0 kbps"
    assert re.fullmatch(r"\d+ ms", page.locator("#delay").inner_text())
    assert int(page.locator("#level-in").get_attribute("aria-valuenow") or "-60") > -60
    stop(page)
    # The digest is the server's own over all tokens that it made.
    expect_text(status(page), "are the same (SHA-256)")
    take = "window.grove.take"
    assert page.evaluate(f"{take}.decoded.length >= {take}.original.length")


def test_the_bitrate_follows_its_slider_while_recording(page: "Page") -> None:
    record(page)
    wait_for_frames(page, 30)
    page.get_by_label("Bitrate").fill("2")
    expect_text(page.locator("#levels-value"), "2 kbps")
    expect_text(page.locator("#bitrate"), "2.0 kbps")
    levels = page.evaluate(
        "[...window.grove.take.tokens.levels.slice(0, grove.take.tokens.frames)]"
    )
    assert set(levels) == {6, 2}
    assert levels == sorted(levels, reverse=True)
    stop(page)
    expect_text(status(page), "are the same (SHA-256)")


def test_the_line_loses_what_its_slider_says(page: "Page") -> None:
    record(page)
    page.get_by_label("Packets lost").fill("40")
    start = frames(page)
    wait_for_frames(page, start + 150)
    lost = page.evaluate("[...window.grove.take.tokens.lost.slice(0, grove.take.tokens.frames)]")
    share = sum(lost[start + 5 :]) / len(lost[start + 5 :])
    assert 0.25 < share < 0.55
    assert page.evaluate(LOUD) > 0
    stop(page)


def test_after_a_cut_the_session_goes_on_without_a_frame_lost(
    page_over_line: "Page", line: CuttableLine
) -> None:
    page = page_over_line
    record(page)
    wait_for_frames(page, 50)
    line.cut()
    expect_text(status(page), "The line was cut. Reconnecting")
    page.wait_for_timeout(1500)
    line.mend()
    expect_text(status(page), "Reconnected")
    wait_for_frames(page, frames(page) + 50)
    assert page.evaluate("window.grove.recording.path.encoder.reconnects") == 1
    assert page.evaluate("window.grove.recording.path.decoder.reconnects") == 1
    stop(page)
    expect_text(status(page), "are the same (SHA-256)")
    made, samples = page.evaluate(
        "[grove.take.tokens.frames, Math.floor(grove.take.original.length / 480)]"
    )
    assert samples <= made <= samples + 2


def test_a_server_that_died_gets_a_new_session_when_it_is_back(
    page: "Page", server: ServerProcess
) -> None:
    record(page)
    wait_for_frames(page, 50)
    server.kill()
    expect_text(status(page), "Reconnecting")
    server.start()
    expect_text(status(page), "A new session has begun")
    before = frames(page)
    wait_for_frames(page, before + 50)
    assert page.evaluate(LOUD) > 0
    stop(page)
    assert page.locator("#alert").is_hidden()


def test_a_full_server_says_so(page: "Page", server: ServerProcess) -> None:
    expect_text(status(page), "Ready.")
    address = server.url.replace("http", "ws") + "v1/stream"
    with ExitStack() as others:
        for _ in range(4):
            others.enter_context(connect(address)).recv(timeout=5)
        page.get_by_role("button", name="Start the microphone").click()
        expect_text(page.get_by_role("alert"), re.compile(r"^The server is full .*Try again in"))
        assert page.get_by_role("button", name="Start the microphone").is_enabled()
    record(page, "Not recording.")
    assert page.locator("#alert").is_hidden()
    stop(page)


@pytest.fixture
def refusing_page(launch: "Launch", server: ServerProcess) -> "Iterator[Page]":
    with launch("--deny-permission-prompts") as browser:
        yield from opened(browser, server.url)


def test_a_refused_microphone_is_explained(refusing_page: "Page") -> None:
    expect_text(status(refusing_page), "Ready.")
    refusing_page.get_by_role("button", name="Start the microphone").click()
    expect_text(refusing_page.get_by_role("alert"), "The microphone was refused. Allow it")
    assert refusing_page.get_by_role("button", name="Start the microphone").is_enabled()


def test_leaving_the_page_gives_the_slots_back(page: "Page", server: ServerProcess) -> None:
    record(page)
    assert server.health()["live_sessions"] == 2
    stop(page)
    assert server.health()["live_sessions"] == 0


def test_a_recording_outlives_a_cut_longer_than_the_server_lets_audio_pile_up(
    page_over_line: "Page", line: CuttableLine
) -> None:
    page = page_over_line
    record(page)
    wait_for_frames(page, 20)
    line.cut()
    page.wait_for_timeout(6500)
    line.mend()
    expect_text(status(page), re.compile("Reconnected|A new session has begun"))
    wait_for_frames(page, frames(page) + 50)
    stop(page)
    assert page.locator("#alert").is_hidden()
