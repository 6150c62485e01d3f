"""The demo page as the server gives it: headers, files, and nothing from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from running import RunningServer, make_settings

from grove.server.routes import demo

FOLDER = Path(demo.__file__).parents[1] / "demo"
FILES = sorted(path.name for path in FOLDER.iterdir())
TEXTS = {
    name: (FOLDER / name).read_text(encoding="utf-8") for name in FILES if not name.endswith("flac")
}
PAGE = TEXTS["index.html"]
NAMESPACE = "http://www.w3.org/2000/svg"
MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "flac": "audio/flac",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


class Tags(HTMLParser):
    """Every start tag of the page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def tags() -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(PAGE)
    return parser.found


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(tmp_path_factory.mktemp("state"), api_keys=("alice:" + "0" * 64,))
    with RunningServer(settings) as running:
        yield running


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_served_as_it_is_with_its_type(name: str, server: RunningServer) -> None:
    reply = server.client.get(f"/demo/{name}")
    assert (reply.status_code, reply.content) == (200, (FOLDER / name).read_bytes())
    assert reply.headers["content-type"] == MEDIA_TYPES[name.rpartition(".")[2]]
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_root_is_the_page(server: RunningServer) -> None:
    assert server.client.get("/").text == PAGE


def test_a_strict_policy_keeps_everything_else_out(server: RunningServer) -> None:
    for path in ("/", "/demo/main.js"):
        policy = server.client.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert not re.search(r"https?:|\*|data:", policy)


def test_an_unchanged_file_is_not_sent_again(server: RunningServer) -> None:
    first = server.client.get("/demo/style.css")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = server.client.get("/demo/style.css", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = server.client.get("/demo/style.css", headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200
    assert server.client.get("/demo/main.js").headers["etag"] != tag


def test_a_head_request_gets_the_headers_only(server: RunningServer) -> None:
    reply = server.client.head("/demo/main.js")
    assert (reply.status_code, reply.content) == (200, b"")
    assert int(reply.headers["content-length"]) == len((FOLDER / "main.js").read_bytes())


@pytest.mark.parametrize(
    "path",
    [
        "/demo/",
        "/demo/nothing.js",
        "/demo/%2e%2e/app.py",
        "/demo/..%2fapp.py",
        "/demo/%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/demo//etc/passwd",
        "/demo/main.js%00.html",
        "/demo/./main.js/../../app.py",
    ],
)
def test_no_path_leads_out_of_the_folder(path: str, server: RunningServer) -> None:
    reply = server.client.get(path)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_the_page_itself_needs_no_key(guarded: RunningServer) -> None:
    assert guarded.client.get("/").status_code == 200
    assert guarded.client.get("/demo/main.js").status_code == 200
    assert guarded.client.get("/v1/models").status_code == 401


def test_every_file_that_is_named_exists_and_every_file_is_named() -> None:
    named = set(re.findall(r"demo/([\w.-]+)", PAGE)) | {"index.html"}
    for name, text in TEXTS.items():
        if name.endswith(".js"):
            named |= set(re.findall(r'from "\./([\w.-]+)"', text))
            named |= set(re.findall(r'"([\w-]+\.(?:js|flac))"', text))
    assert named - set(FILES) == set()
    assert set(FILES) - named == set()


@pytest.mark.parametrize("name", list(TEXTS))
def test_no_file_names_another_server(name: str) -> None:
    text = TEXTS[name].replace(NAMESPACE, "")
    assert re.findall(r"https?://|(?<!:)//[a-z]+\.[a-z]|@import|\burl\(", text) == []


def test_nothing_is_inline(tags: list[tuple[str, dict[str, str | None]]]) -> None:
    for tag, attributes in tags:
        assert tag != "style"
        assert tag != "script" or attributes.get("src")
        assert not [name for name in attributes if name == "style" or name.startswith("on")]


def test_every_control_has_a_name(tags: list[tuple[str, dict[str, str | None]]]) -> None:
    labelled = {attributes.get("for") for tag, attributes in tags if tag == "label"}
    inputs = [attributes for tag, attributes in tags if tag == "input"]
    assert len(inputs) >= 8
    for attributes in inputs:
        wrapped = attributes["type"] in {"checkbox", "radio"}
        assert wrapped or attributes.get("id") in labelled, attributes
    for tag, attributes in tags:
        if tag in {"section", "canvas"} or attributes.get("role") in {"tablist", "meter"}:
            assert attributes.get("aria-label") or attributes.get("aria-labelledby"), attributes


def test_every_id_is_unique_and_every_reference_leads_to_one(
    tags: list[tuple[str, dict[str, str | None]]],
) -> None:
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for name in ("for", "aria-labelledby", "aria-describedby", "aria-controls"):
            assert set((attributes.get(name) or "").split()) <= set(ids), attributes
    sought = set(re.findall(r'find\("([\w-]+)"\)', TEXTS["main.js"]))
    assert sought <= set(ids)


def test_the_recording_offered_names_its_source() -> None:
    clip = Path(__file__).parent.parent.parent / "fixtures" / "speech-052.flac"
    assert (FOLDER / "sample.flac").read_bytes() == clip.read_bytes()
    assert "LibriTTS (CC BY 4.0)" in PAGE
