"""The codec in the browser itself: the server's tokens, also with the server stopped."""

import base64
import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import soundfile
from conftest import FIXTURES, opened
from serving import ServerProcess
from test_file import CLIP, decoded, open_clip
from test_microphone import LOUD, expect_text, frames, record, status, stop, wait_for_frames

from grove.codec.bundle import load_bundle
from grove.codec.runtime import Codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
_log = logging.getLogger(__name__)
LAW_FRAMES = 3000
PCM_TOLERANCE = 1e-5
CODE = """async ([pcm, threads, chunk]) => {
  const bytes = Uint8Array.from(atob(pcm), (char) => char.charCodeAt(0));
  const samples = new Float32Array(bytes.buffer);
  let { codec } = window.grove.places.browser;
  if (threads > 1) {
    const { GroveCodec } = await import("/local/codec/index.js");
    codec = await GroveCodec.load(`/local/bundles/${codec.spec.model_sha256}/`, {
      runtime: new URL("/local/runtime/ort.wasm.bundle.min.mjs", location).href,
      worker: true,
      threads,
    });
  }
  const [encoder, decoder] = [codec.encoder(), codec.decoder()];
  const [codes, heard] = [[], []];
  for (let start = 0; start < samples.length; start += chunk) {
    const packets = await encoder.push(samples.slice(start, start + chunk));
    for (const packet of packets) codes.push(...packet.codes);
    heard.push(new Uint8Array((await decoder.push(packets)).buffer));
  }
  if (threads > 1) await codec.close();
  const text = async (parts) => {
    const url = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(new Blob(parts));
    });
    return url.slice(url.indexOf(",") + 1);
  };
  return [await text([new Uint16Array(codes)]), await text(heard), crossOriginIsolated];
}"""


@pytest.fixture
def own_server(tmp_path: Path) -> "Iterator[ServerProcess]":
    """A server that a test may kill without harm to others."""
    with ServerProcess(tmp_path, {"GROVE_SLOTS": "4"}) as running:
        yield running


@pytest.fixture
def own_page(browser: "Browser", own_server: ServerProcess) -> "Iterator[Page]":
    yield from opened(browser, own_server.url)


def choose_browser(page: "Page") -> None:
    expect_text(status(page), re.compile(r"^Ready[.:]"))
    page.get_by_label("In this browser").check(force=True)
    page.get_by_text("the server may be stopped").wait_for(timeout=120_000)


def speech(frame_count: int) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    clips = [soundfile.read(p, dtype="float32")[0] for p in sorted(FIXTURES.glob("speech-*.flac"))]
    return np.concatenate(clips)[: frame_count * 480]


@pytest.mark.parametrize(
    ("threads", "frame_count", "chunk"), [(1, LAW_FRAMES, 9600), (2, 500, 480)]
)
def test_chromium_makes_the_server_s_tokens(
    page: "Page", threads: int, frame_count: int, chunk: int
) -> None:
    page.set_default_timeout(600_000)
    choose_browser(page)
    pcm = speech(frame_count)
    sent = base64.b64encode(pcm.astype("<f4").tobytes()).decode()
    codes_text, heard_text, is_isolated = page.evaluate(CODE, [sent, threads, chunk])
    codes = np.frombuffer(base64.b64decode(codes_text), "<u2").reshape(-1, 12)
    heard = np.frombuffer(base64.b64decode(heard_text), "<f4")
    codec = Codec(load_bundle())
    expected, _ = codec.encode_step(pcm[None], codec.encoder_state(1))
    levels = np.full((1, frame_count), codec.spec.levels, np.int64)
    wanted, _ = codec.decode_step(expected, levels, codec.decoder_state(1))
    differing = int((codes != expected[0]).sum())
    worst = float(np.abs(heard - wanted[0][codec.spec.delay_samples :]).max())
    _log.info(
        f"{threads} threads, {frame_count} frames: {differing} codes differ, samples by {worst:.2g}"
    )
    assert is_isolated
    assert differing == 0
    assert worst < PCM_TOLERANCE


def test_a_file_has_the_same_tokens_at_both_places_also_without_the_server(
    own_page: "Page", own_server: ServerProcess, tmp_path: Path
) -> None:
    page = own_page
    tokens = "[...window.grove.take.tokens.codes.subarray(0, 12 * window.grove.take.tokens.frames)]"
    open_clip(page)
    theirs, heard_there = page.evaluate(tokens), decoded(page)
    rest = httpx.post(own_server.url + "v1/encode?levels=6", content=CLIP.read_bytes()).content
    choose_browser(page)
    expect_text(status(page), f"Ready: {CLIP.name} at 6 kbps")
    own_server.kill()
    open_again = page.get_by_label("Choose an audio file")
    open_again.set_input_files(CLIP)
    expect_text(status(page), f"Ready: {CLIP.name} at 6 kbps")
    assert page.evaluate(tokens) == theirs
    # The page's audio from the server has 16 bits.
    assert np.abs(np.array(decoded(page)) - np.array(heard_there)).max() < 2**-15
    page.get_by_label("Bitrate").fill("2")
    expect_text(page.locator("#bitrate"), "2.0 kbps")
    page.get_by_label("Bitrate").fill("6")
    expect_text(page.locator("#bitrate"), "6.0 kbps")
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download tokens").click()
    path = tmp_path / "here.grv"
    waiting.value.save_as(path)
    assert path.read_bytes() == rest
    assert page.locator("#alert").is_hidden()


def test_the_microphone_works_here_after_the_server_went(
    own_page: "Page", own_server: ServerProcess
) -> None:
    page = own_page
    choose_browser(page)
    own_server.kill()
    record(page, "Ready.")
    wait_for_frames(page, 150)
    assert page.evaluate(LOUD) > 0.01
    expect_text(page.locator("#bitrate"), "6.0 kbps")
    page.get_by_label("Bitrate").fill("1")
    expect_text(page.locator("#bitrate"), "1.0 kbps")
    page.get_by_label("Packets lost").fill("30")
    wait_for_frames(page, frames(page) + 60)
    assert re.fullmatch(r"\d+ ms", page.locator("#delay").inner_text())
    stop(page)
    assert page.locator("#alert").is_hidden()
    take = "window.grove.take"
    assert page.evaluate(f"{take}.decoded.length >= {take}.original.length")


def test_a_second_visit_takes_the_graphs_from_the_cache(page: "Page") -> None:
    choose_browser(page)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.reload()
    choose_browser(page)
    assert [url for url in fetched if url.endswith("manifest.json")]
    assert [url for url in fetched if url.endswith(".onnx")] == []


def test_a_bundle_with_a_wrong_hash_leaves_the_page_on_the_server(
    browser: "Browser", server: ServerProcess
) -> None:
    for page in opened(browser.new_context(), server.url):
        page.route("**/decoder.onnx", lambda route: route.fulfill(body=b"not the graph"))
        expect_text(status(page), "Ready.")
        page.get_by_label("In this browser").check(force=True)
        expect_text(page.get_by_role("alert"), "wrong_hash")
        assert page.get_by_label("On the server").is_checked()
        open_clip(page)


def test_a_lost_worker_ends_the_recording_with_its_name(page: "Page") -> None:
    choose_browser(page)
    record(page, "Ready.")
    wait_for_frames(page, 20)
    page.evaluate("window.grove.places.browser.codec.worker.worker.terminate()")
    expect_text(page.get_by_role("alert"), "worker_lost")
    assert page.get_by_role("button", name="Start the microphone").is_enabled()


def test_without_the_runtime_the_page_says_so_and_stays_as_it_is(
    browser: "Browser", server: ServerProcess
) -> None:
    for page in opened(browser.new_context(), server.url, unavailable):
        expect_text(status(page), "Ready.")
        expect_text(page.locator("#place-note"), "not set up on this server (make web)")
        assert page.get_by_label("In this browser").is_disabled()
        open_clip(page)


def unavailable(page: "Page") -> None:
    answer = json.dumps({"available": False})
    page.route("**/local/status", lambda route: route.fulfill(body=answer))
