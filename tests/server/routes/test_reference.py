"""The page of the API: its files, its policy, and nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from running import RunningServer

from grove.server.routes import reference

SERVER = Path(reference.__file__).parents[1]
FOLDER = SERVER / "reference"
FILES = sorted(path.name for path in FOLDER.iterdir())
PAGE = (FOLDER / "index.html").read_text(encoding="utf-8")


def policy_of(server: RunningServer, path: str) -> dict[str, str]:
    said = server.client.get(path).headers["content-security-policy"]
    return dict(part.strip().partition(" ")[::2] for part in said.split(";"))


def test_the_page_and_its_files_are_served_as_they_are(server: RunningServer) -> None:
    page = server.client.get("/docs")
    assert (page.status_code, page.text) == (200, PAGE)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for name in FILES:
        assert server.client.get(f"/docs/{name}").content == (FOLDER / name).read_bytes()
    assert server.client.head("/docs").status_code == 200


def test_the_protocol_is_there_to_read_offline(server: RunningServer) -> None:
    reply = server.client.get("/docs/PROTOCOL.md")
    assert reply.content == (SERVER / "PROTOCOL.md").read_bytes()
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/docs", "/docs/reference.js"])
def test_scripts_come_from_here_alone_and_no_other_page_frames_it(
    path: str, server: RunningServer
) -> None:
    policy = policy_of(server, path)
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    sources = {source for value in policy.values() for source in value.split()}
    assert sources == {"'none'", "'self'", "blob:"}
    assert [name for name, value in policy.items() if "blob:" in value] == ["media-src"]


def test_nothing_is_named_that_another_host_has() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//[\w-]+\.", text), name
        assert "innerHTML" not in text, name
    assert "<style" not in PAGE
    assert " style=" not in PAGE
    assert re.findall(r"<script(.*?)>(.*?)</script>", PAGE) == [
        (' type="module" src="docs/reference.js"', "")
    ]


def test_what_is_known_is_not_sent_again(server: RunningServer) -> None:
    etag = server.client.get("/docs").headers["etag"]
    again = server.client.get("/docs", headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_there_is_no_way_out_of_the_folder(server: RunningServer) -> None:
    for name in ("../app.py", "..%2Fapp.py", "app.py", "%2e%2e%2fPROTOCOL.md"):
        assert server.client.get(f"/docs/{name}").status_code == 404
