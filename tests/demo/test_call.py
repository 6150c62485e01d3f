"""Two Chromium pages call each other through the relay, and each hears what the other one says."""

import base64
import logging
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import soxr
from conftest import FIXTURES, opened
from line import free_port
from numpy.typing import NDArray
from test_microphone import expect_text, status

if TYPE_CHECKING:
    from conftest import Launch
    from playwright.sync_api import Page

F32 = NDArray[np.float32]
CLIP_SECONDS = 3

pytestmark = pytest.mark.browser
_log = logging.getLogger(__name__)
RELAY = Path(__file__).parents[2] / "examples" / "call" / "relay.py"
VOICES = ("speech-052", "speech-047")
# Less than the play-out lets pile up; what it waits for before it begins may stay behind.
TURN_SECONDS = 0.08
WAIT_SECONDS = 300
# The fake microphones are taken off, and clips put in their place, so that a slow machine changes
# nothing. A second decoder says what a page has to hear of the packets that reach it.
TAKE_OVER = """async () => {
  const call = window.call;
  call.source.disconnect();
  [window.heard, window.due] = [[], []];
  const tap = new AudioWorkletNode(call.context, "grove-capture", {
    numberOfOutputs: 0, processorOptions: { chunkSamples: 512 },
  });
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }) => window.heard.push(data.samples);
  call.encoder.close();
  call.encoder = call.codec.encoder({ sampleRate: call.context.sampleRate });
  tap.port.postMessage(port2, [port2]);
  call.playout.connect(tap);
  const check = call.codec.decoder({ sampleRate: call.context.sampleRate });
  const { onPacket } = call.line.handlers;
  call.line.handlers.onPacket = async (packet) => {
    onPacket(packet);
    window.due.push(await check.push({ level: packet.level, bytes: packet.bytes }));
  };
  return call.context.sampleRate;
}"""
SAY = """async (text) => {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const packets = await call.encoder.push(new Float32Array(bytes.buffer));
  for (const packet of packets) call.send({ ...packet, time: call.context.currentTime });
  return packets.length;
}"""
TAPPED = """(name) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
  reader.readAsDataURL(new Blob(window[name]));
})"""


@pytest.fixture(scope="module")
def relay_url() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, str(RELAY), "--port", str(port)])
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        assert process.poll() is None
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/page/index.html?room=test"
    process.terminate()
    process.wait()


@pytest.fixture
def pages(launch: "Launch", relay_url: str, tmp_path: Path) -> "Iterator[list[Page]]":
    """Two pages, each with a voice of its own in its microphone."""
    with ExitStack() as stack:
        made = []
        for voice in VOICES:
            wav = tmp_path / f"{voice}.wav"
            samples, rate_hz = soundfile.read(FIXTURES / f"{voice}.flac", dtype="float32")
            soundfile.write(wav, samples, rate_hz, subtype="PCM_16")
            browser = stack.enter_context(
                launch(
                    "--use-fake-ui-for-media-stream",
                    "--autoplay-policy=no-user-gesture-required",
                    f"--use-file-for-fake-audio-capture={wav}",
                )
            )
            page = stack.enter_context(_closing(opened(browser, relay_url)))
            made.append(page)
        yield made


class _closing:  # noqa: N801 - as contextlib.closing, for a generator that yields one page
    def __init__(self, pages: "Iterator[Page]") -> None:
        self._pages = pages

    def __enter__(self) -> "Page":
        return next(self._pages)

    def __exit__(self, *_: object) -> None:
        next(self._pages, None)


def tapped(page: "Page", name: str) -> F32:
    """Return what a page heard, or what was due, without the silence of a late line."""
    samples: F32 = np.frombuffer(base64.b64decode(page.evaluate(TAPPED, name)), "<f4")
    return samples[samples != 0]


def settle(page: "Page") -> None:
    """Wait until nothing of the microphones is under way, and forget it."""
    before = -1
    while (now := int(page.evaluate("window.due.length"))) != before:
        before = now
        page.wait_for_timeout(2000)
    page.evaluate("() => { window.heard = []; window.due = []; }")


def say(speaker: "Page", listener: "Page", clip: F32) -> None:
    """Say a clip turn by turn, each when the one before it was played."""
    turn, frames = int(TURN_SECONDS * len(clip) / CLIP_SECONDS), 0
    for start in range(0, len(clip), turn):
        sent = base64.b64encode(clip[start : start + turn].astype("<f4").tobytes()).decode()
        frames += speaker.evaluate(SAY, sent)
        wait_for(listener, f"window.due.length >= {frames} && call.waitingSeconds < 0.09")


def wait_for(page: "Page", condition: str) -> None:
    deadline_s = time.monotonic() + WAIT_SECONDS
    while not page.evaluate(condition):
        assert time.monotonic() < deadline_s, condition
        page.wait_for_timeout(50)


def likeness(heard: F32, said: F32) -> float:
    """Return the largest correlation of what was heard with what was said, at any delay."""
    size = len(heard) + len(said)
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.fft.rfft(said, size).conj(), size)
    return float(np.abs(product).max() / np.linalg.norm(heard) / np.linalg.norm(said))


def has_in_it(due: F32, piece: F32) -> bool:
    """Tell whether the samples of `piece` are, as they are, a part of `due`."""
    starts = np.flatnonzero(due[: len(due) - len(piece) + 1] == piece[0])
    return any(np.array_equal(due[at : at + len(piece)], piece) for at in starts)


def start_call(page: "Page") -> None:
    page.set_default_timeout(240_000)
    page.get_by_label("Bitrate").fill("6")
    page.get_by_role("button", name="Call").click()
    page.get_by_text(re.compile("Waiting for the other one|You hear each other")).wait_for()


def test_each_hears_what_the_other_says(pages: "list[Page]") -> None:
    for page in pages:
        start_call(page)
    for page in pages:
        page.get_by_text("You hear each other.").wait_for()
    clips = []
    for page, voice in zip(pages, VOICES, strict=True):
        rate_hz = int(page.evaluate(TAKE_OVER))
        pcm, voice_hz = soundfile.read(FIXTURES / f"{voice}.flac", dtype="float32")
        loudest = int(np.argmax(np.convolve(pcm**2, np.ones(CLIP_SECONDS * voice_hz), "valid")))
        pcm = pcm[loudest : loudest + CLIP_SECONDS * voice_hz]
        clips.append(soxr.resample(pcm, voice_hz, rate_hz))
    for page in pages:
        settle(page)
    for here, there in ((1, 0), (0, 1)):
        say(pages[there], pages[here], clips[there])
        heard, due = tapped(pages[here], "heard"), tapped(pages[here], "due")
        like = [likeness(due, clips[there]), likeness(due, clips[here])]
        _log.info("heard %d samples, like %.2f the other, %.2f oneself", len(heard), *like)
        # The first half still has in it what the decoder remembers of the microphones.
        assert has_in_it(due, heard[len(heard) // 2 : -2048])
        assert like[0] > 0.5 > 2 * like[1]
        expect_text(pages[here].locator("#delay"), re.compile(r"^\d+ ms$"))


def test_the_controls_do_what_they_say(pages: "list[Page]") -> None:
    first, second = pages
    for page in pages:
        start_call(page)
    first.evaluate(TAKE_OVER)
    second.evaluate(TAKE_OVER)
    first.get_by_label("Bitrate").fill("1")
    silence = np.zeros(48_000, np.float32)
    sent = base64.b64encode(silence.tobytes()).decode()
    first.evaluate(
        "() => { window.messages = []; call.line.send = (packet) => messages.push(packet); }"
    )
    made = first.evaluate(SAY, sent)
    assert {*first.evaluate("messages.map((packet) => packet.level)")} == {1}
    assert first.evaluate("messages.length") == made
    first.get_by_label("My packets lost").fill("50")
    first.evaluate("window.messages = []")
    made = sum(first.evaluate(SAY, sent) for _ in range(4))
    assert 0.3 < first.evaluate("messages.length") / made < 0.7
    first.get_by_role("button", name="Mute").click()
    tracks = "call.stream.getTracks().map((track) => track"
    assert first.evaluate(f"{tracks}.enabled)") == [False]
    first.get_by_role("button", name="Hang up").click()
    expect_text(status(first), "The call is over: you hung up.")
    expect_text(status(second), "The other one has left.")
    assert first.evaluate(f"{tracks}.readyState)") == ["ended"]


def test_a_third_one_is_told_that_two_are_talking(relay_url: str, pages: "list[Page]") -> None:
    for page in pages:
        start_call(page)
    browser = pages[0].context.browser
    assert browser
    third = browser.new_page()
    third.goto(relay_url)
    third.get_by_role("button", name="Call").click()
    third.get_by_text("two are talking here already").wait_for(timeout=240_000)
    assert third.get_by_role("button", name="Call").is_enabled()
    third.close()
