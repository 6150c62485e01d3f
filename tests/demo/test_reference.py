"""The page of the API in a real browser that reaches no host but the server."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from conftest import FIXTURES, opened
from serving import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Route

pytestmark = pytest.mark.browser

CLIP = FIXTURES / "speech-052.flac"
WAIT_MS = 60_000
KEY = "a-key-for-the-page"


def offline(page: "Page", server: ServerProcess, refused: list[str]) -> None:
    """Let no request leave for another host, and note what the page's policy forbids."""

    def only_here(route: "Route") -> None:
        if route.request.url.startswith((server.url, "blob:")):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    def on_console(message: "ConsoleMessage") -> None:
        # Refusals by the server are part of the tests, and are shown on the page.
        if message.type == "error" and "the server responded with a status" not in message.text:
            refused.append(message.text)

    page.route("**/*", only_here)
    page.on("console", on_console)


@pytest.fixture
def reference(browser: "Browser", server: ServerProcess) -> Iterator["Page"]:
    refused: list[str] = []
    pages = opened(browser, f"{server.url}docs", lambda page: offline(page, server, refused))
    page = next(pages)
    page.wait_for_selector("section")
    yield page
    assert refused == []
    assert list(pages) == []


def section(page: "Page", label: str) -> "Locator":
    return page.locator(f"section[aria-label='{label}']")


def send(form: "Locator") -> "Locator":
    """Press Send; return the reply once its size is shown."""
    form.get_by_role("button", name="Send").click()
    reply = form.locator(".reply")
    reply.locator("text=/bytes in/").wait_for(timeout=WAIT_MS)
    return reply


def test_every_operation_of_the_description_is_there(
    reference: "Page", server: ServerProcess
) -> None:
    paths = httpx.get(f"{server.url}openapi.json").json()["paths"]
    wanted = {f"{method} {path}" for path, methods in paths.items() for method in methods}
    shown = reference.locator("section").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert set(shown) == wanted
    assert len(shown) == len(wanted) >= 16
    assert reference.locator("nav a").count() == len(wanted)


def test_a_file_is_coded_and_heard(reference: "Page") -> None:
    form = section(reference, "post /v1/transcode")
    form.locator("input[name=levels]").fill("2")
    form.locator("select[name=format]").select_option("flac")
    form.locator("input[type=file]").set_input_files(CLIP)
    reply = send(form)
    assert "200" in reply.inner_text()
    player = reply.locator("audio")
    reference.wait_for_function(
        "() => document.querySelector('audio').readyState >= 1", timeout=WAIT_MS
    )
    assert player.evaluate("(audio) => audio.duration") > 1
    with reference.expect_download() as saved:
        reply.locator("a", has_text="Save").click()
    assert saved.value.suggested_filename == "grove.flac"
    assert Path(saved.value.path()).read_bytes()[:4] == b"fLaC"


def test_the_command_that_it_shows_is_what_it_sends(reference: "Page") -> None:
    form = section(reference, "post /v1/encode")
    form.locator("input[name=levels]").fill("3")
    form.locator("input[type=file]").set_input_files(CLIP)
    assert form.locator(".curl").inner_text() == (
        f"curl -sS --data-binary '@{CLIP.name}' '{reference.url.removesuffix('docs')}"
        "v1/encode?levels=3'"
    )
    with reference.expect_request("**/v1/encode?levels=3") as asked:
        send(form)
    assert asked.value.method == "POST"


def test_a_refusal_is_shown_with_what_it_says(reference: "Page") -> None:
    form = section(reference, "post /v1/encode")
    form.locator("input[name=levels]").fill("9")
    form.locator("input[type=file]").set_input_files(CLIP)
    said = send(form).locator("pre").inner_text()
    assert json.loads(said)["pointer"] == "#/query/levels"


def test_a_job_is_started_and_followed_to_its_end(reference: "Page") -> None:
    form = section(reference, "post /v1/jobs")
    form.locator("select[name=operation]").select_option("encode")
    form.locator("input[type=file]").set_input_files(CLIP)
    job = json.loads(send(form).locator("pre").inner_text())
    events = section(reference, "get /v1/jobs/{job_id}/events")
    events.locator("input[name=job_id]").fill(job["id"])
    events.get_by_role("button", name="Send").click()
    events.locator("pre", has_text="event: done").wait_for(timeout=WAIT_MS)
    result = section(reference, "get /v1/jobs/{job_id}/result")
    result.locator("input[name=job_id]").fill(job["id"])
    assert "Save" in send(result).inner_text()


def test_it_fits_a_telephone(reference: "Page") -> None:
    reference.set_viewport_size({"width": 340, "height": 700})
    assert reference.evaluate("document.documentElement.scrollWidth") <= 340


def test_a_key_is_sent_and_not_shown(browser: "Browser", tmp_path: Path) -> None:
    keys = json.dumps([f"page:{hashlib.sha256(KEY.encode()).hexdigest()}"])
    with ServerProcess(tmp_path, {"GROVE_SLOTS": "2", "GROVE_API_KEYS": keys}) as locked:
        for page in opened(browser, f"{locked.url}docs"):
            form = section(page, "get /v1/models")
            assert "401" in send(form).inner_text()
            page.locator("#key").fill(KEY)
            reply = send(form)
            reply.locator("text=/^200/").wait_for(timeout=WAIT_MS)
            curl = form.locator(".curl").inner_text()
            assert re.search(r'-H "Authorization: Bearer \$GROVE_KEY"', curl)
            assert KEY not in page.content()
