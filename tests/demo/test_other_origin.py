"""A page of another origin, in a real browser: files and streams by the JavaScript client."""

import json
import queue
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import FIXTURES, FLAGS, chromium_path
from serving import ServerProcess

pytestmark = pytest.mark.browser

CLIENT = Path(__file__).parent.parent.parent / "clients" / "js" / "grove-client.js"
SCRIPT = """
import { Grove, framesOf } from "./grove-client.js";
async function run(url) {
  const grove = new Grove(url);
  const speech = await (await fetch("./speech.flac")).arrayBuffer();
  const found = { seconds: {}, frames: 0 };
  const tokens = await grove.encode(speech, { levels: 2 });
  found.tokens = tokens.length;
  for (const format of ["wav", "flac", "ogg"]) {
    const audio = await grove.decode(tokens, { format });
    const context = new OfflineAudioContext(1, 24000, 24000);
    found.seconds[format] = (await context.decodeAudioData(audio.buffer)).duration;
  }
  const reply = await fetch(`${url}/v1/models`);
  found.model = reply.headers.get("Codec-Model");
  const settings = { mode: "encode", levels: 1, pace: "file", frames_per_packet: 3 };
  const stream = await grove.stream(settings);
  await stream.send(new Int16Array(24000));
  stream.finalize();
  for await (const packet of stream) found.frames += framesOf(packet).length;
  return found;
}
run("SERVER").catch((error) => ({ error: String(error) }))
  .then((found) => fetch("./found", { method: "POST", body: JSON.stringify(found) }));
"""


class Site(ThreadingHTTPServer):
    """The other origin: a page, and where it says what it found."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        self.script = ""
        self.found: queue.Queue[dict[str, object]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        page = f"<!doctype html><script type=module>{self.server.script}</script>".encode()
        files = {
            "/": ("text/html", page),
            "/grove-client.js": ("text/javascript", CLIENT.read_bytes()),
            "/grove-stream.js": (
                "text/javascript",
                CLIENT.with_name("grove-stream.js").read_bytes(),
            ),
            "/speech.flac": ("audio/flac", (FIXTURES / "speech-033.flac").read_bytes()),
        }
        if self.path not in files:
            self.send_error(404)
            return
        media_type, body = files[self.path]
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        assert isinstance(self.server, Site)
        self.server.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its signature
        pass


def seen_by_a_page(folder: Path, allowed: bool) -> dict[str, object]:
    """Return what the page finds when its origin is, or is not, allowed."""
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        origins = json.dumps([site.origin] if allowed else [])
        settings = {"GROVE_SLOTS": "4", "GROVE_ALLOWED_ORIGINS": origins}
        with ServerProcess(folder, settings) as server:
            site.script = SCRIPT.replace("SERVER", server.url.rstrip("/"))
            command = [chromium_path(), *FLAGS, f"--user-data-dir={folder}/profile", site.origin]
            browser = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            try:
                return site.found.get(timeout=120)
            finally:
                browser.kill()
                browser.wait()
                site.shutdown()


def test_a_page_of_an_allowed_origin_codes_files_and_streams(tmp_path: Path) -> None:
    found = seen_by_a_page(tmp_path, allowed=True)
    assert "error" not in found, found
    assert str(found["model"]).startswith("grove-24k@")
    seconds = found["seconds"]
    assert isinstance(seconds, dict)
    assert set(seconds) == {"wav", "flac", "ogg"}
    assert max(seconds.values()) == pytest.approx(min(seconds.values()), abs=0.02)
    assert found["frames"] == 51


def test_a_page_of_another_origin_gets_nothing(tmp_path: Path) -> None:
    assert "Failed to fetch" in str(seen_by_a_page(tmp_path, allowed=False)["error"])
