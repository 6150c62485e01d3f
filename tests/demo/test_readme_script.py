"""The script of the README in a real browser."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from serving import ServerProcess
from test_microphone import WAIT_MS, expect_text, status

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# A page may only run scripts of its own origin, so the test puts both of them there.
ADD_SCRIPT = """() => {
    const script = document.createElement("script");
    Object.assign(script, { type: "module", src: "/script.js" });
    document.head.append(script);
}"""


def serve(page: "Page", path: str, body: str) -> None:
    def answer(route: "Route") -> None:
        route.fulfill(body=body, content_type="text/javascript")

    page.route(f"**{path}", answer)


def test_the_script_prints_the_tokens_of_a_second(page: "Page", server: ServerProcess) -> None:
    (script,) = re.findall(r"^```js\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    own = script.replace("http://127.0.0.1:8000", server.url.rstrip("/"))
    assert own != script
    serve(page, "/script.js", own + 'console.log("done");')
    for name in ("grove-client.js", "grove-stream.js"):
        serve(page, f"/{name}", (ROOT / "clients" / "js" / name).read_text(encoding="utf-8"))
    expect_text(status(page), "Ready.")
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    with page.expect_console_message(lambda message: message.text == "done", timeout=WAIT_MS):
        page.evaluate(ADD_SCRIPT)
    indices = [int(line.split()[0]) for line in said if line != "done"]
    assert indices == sorted(indices)
    assert indices[-1] >= 48
