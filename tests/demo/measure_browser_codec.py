"""Measure the codec in a real Chromium: loading, and a live step of 20 ms both ways.

make web demo-test                                   # once
.venv/bin/python tests/demo/measure_browser_codec.py
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from conftest import chromium_path
from playwright.sync_api import sync_playwright
from serving import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

LOAD_AND_STEP = """async ([threads, steps, worker]) => {
  const startedAtMs = performance.now();
  const { GroveCodec } = await import("/local/codec/index.js");
  const { models: [model] } = await (await fetch("/v1/models")).json();
  let fetched = 0;
  const codec = await GroveCodec.load(`/local/bundles/${model.sha256}/`, {
    runtime: new URL("/local/runtime/ort.wasm.bundle.min.mjs", location).href,
    worker, threads, onProgress: (file) => (fetched += file.fetched),
  });
  const loadedMs = performance.now() - startedAtMs;
  const [encoder, decoder] = [codec.encoder(), codec.decoder()];
  const hop = codec.spec.hop_samples;
  const speech = Float32Array.from({ length: hop * steps }, (_, n) =>
    0.3 * Math.sin(n / 20) * Math.sin(n / 3000) + 0.01 * (Math.random() - 0.5));
  const stepsMs = [];
  let firstSoundMs = 0;
  for (let n = 0; n < steps; n++) {
    const cameAtMs = performance.now();
    const packets = await encoder.push(speech.slice(n * hop, (n + 1) * hop));
    await decoder.push(packets);
    stepsMs.push(performance.now() - cameAtMs);
    firstSoundMs ||= performance.now() - startedAtMs;
  }
  await codec.close();
  const late = stepsMs.slice(steps >> 2).sort((a, b) => a - b);
  const at = (share) => Number(late[Math.floor(share * (late.length - 1))].toFixed(2));
  const transfers = performance.getEntriesByType("resource");
  return {
    load_s: loadedMs / 1000, first_sound_s: firstSoundMs / 1000, fetched_bytes: fetched,
    least_ms: at(0), p50_ms: at(0.5), p99_ms: at(0.99), first_steps_ms: stepsMs.slice(0, 5),
  };
}"""


def measured(context: "BrowserContext", url: str, *, threads: int, worker: bool) -> str:
    page = context.new_page()
    page.set_default_timeout(600_000)
    page.goto(url + "demo/main.js")  # of the same origin, and nothing else goes on there
    found = page.evaluate(LOAD_AND_STEP, [threads, 400, worker])
    page.close()
    return json.dumps(found)


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as state_dir,
        ServerProcess(Path(state_dir), {"GROVE_SLOTS": "4"}) as server,
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium_path(), args=["--headless=new", "--no-sandbox"]
        ) as browser,
    ):
        context = browser.new_context()
        for visit in ("first visit", "second visit"):
            found = measured(context, server.url, threads=1, worker=True)
            sys.stdout.write(f"{visit}, one thread: {found}\n")
            sys.stdout.flush()
        found = measured(context, server.url, threads=2, worker=True)
        sys.stdout.write(f"two threads: {found}\n")


if __name__ == "__main__":
    main()
