"""What npm makes of the packed client, in a real browser: no bundler, an import map."""

import functools
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import opened
from serving import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PAGE = """<!doctype html><link rel=icon href="data:,">
<script type=importmap>{"imports": {
  "grove-codec": "/node_modules/grove-codec/grove-client.js",
  "grove-codec/local": "/node_modules/grove-codec/local/index.js"
}}</script>"""
SCRIPT = """async (url) => {
  const { Grove } = await import("grove-codec");
  const { GroveCodec } = await import("grove-codec/local");
  const codec = await GroveCodec.load("/bundle/", { worker: true });
  const grv = await codec.encode(new Float32Array(24000), { levels: 2 });
  await codec.close();
  const grove = new Grove(url);
  const job = await grove.jobs.start("decode", grv, { format: "raw" });
  await grove.jobs.wait(job.id);
  const raw = await grove.jobs.result(job.id);
  return [(await grove.models())[0].name, raw.length];
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def guess_type(self, path: str | os.PathLike[str]) -> str:
        return "text/javascript" if str(path).endswith(".mjs") else super().guess_type(path)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An origin with a project in which npm installed the packed client."""
    folder = tmp_path_factory.mktemp("project")
    packing = ["make", "-s", "clients-js", f"PACKED={folder}"]
    subprocess.run(packing, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (tarball,) = folder.glob("*.tgz")
    (folder / "package.json").write_text(json.dumps({"name": "fresh", "private": True}))
    install = ["npm", "install", "--silent", "--ignore-scripts", "--no-audit", str(tarball)]
    subprocess.run(install, cwd=folder, check=True)
    (folder / "index.html").write_text(PAGE)
    (folder / "bundle").symlink_to(ROOT / "exports" / "grove-24k-0.4.0")
    handler = functools.partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def open_server(site: str, tmp_path: Path) -> Iterator[ServerProcess]:
    settings = {"GROVE_SLOTS": "2", "GROVE_ALLOWED_ORIGINS": json.dumps([site])}
    with ServerProcess(tmp_path, settings) as running:
        yield running


def test_client_and_codec_work_as_npm_installed_them(
    browser: "Browser", site: str, open_server: ServerProcess
) -> None:
    for page in opened(browser, site):
        assert page.evaluate(SCRIPT, open_server.url) == ["grove-24k", 48_000]
