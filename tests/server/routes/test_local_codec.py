"""What the server gives a codec in a browser: modules, runtime, bundles, and their headers."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_codec import SPEC, FakeCodec
from running import RunningServer, make_settings

from grove.codec.bundle import load_bundle
from grove.server.models import Model
from grove.server.routes import local

ROOT = Path(__file__).parents[3]
KEY = "alice:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90"  # of "alice"
WASM = b"\0asm" + bytes(2000)


def load_real(name: str, threads: int) -> Model:  # noqa: ARG001 - the loader's form
    """The files of the shipped bundle behind the fake codec."""
    bundle = load_bundle()
    return Model(FakeCodec(bundle.spec), bundle.accepted_models, bundle)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = make_settings(tmp_path_factory.mktemp("state"), api_keys=(KEY,))
    with RunningServer(settings, load_real) as running:
        yield running


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for what `make web` fetches."""
    for name in ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"):
        (tmp_path / name).write_bytes(WASM)
    monkeypatch.setattr(local, "_RUNTIME", tmp_path)
    return tmp_path


def test_a_page_learns_whether_the_runtime_is_there(server: RunningServer, runtime: Path) -> None:
    assert server.client.get("/local/status").json() == {"available": True}
    (runtime / "ort-wasm-simd-threaded.wasm").unlink()
    assert server.client.get("/local/status").json() == {"available": False}
    reply = server.client.get("/local/runtime/ort-wasm-simd-threaded.wasm")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_modules_come_with_their_type_and_may_compile_webassembly_alone(
    server: RunningServer,
) -> None:
    reply = server.client.get("/local/codec/worker.js")
    assert reply.content == (ROOT / "clients" / "js" / "local" / "worker.js").read_bytes()
    assert reply.headers["content-type"] == "text/javascript; charset=utf-8"
    policy = reply.headers["content-security-policy"]
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "unsafe" not in policy.replace("'wasm-unsafe-eval'", "")


@pytest.mark.parametrize("path", ["/", "/demo/main.js", "/local/codec/index.js", "/local/status"])
def test_pages_are_isolated_so_that_threads_may_share_memory(
    server: RunningServer, path: str
) -> None:
    headers = server.client.get(path).headers
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"


def test_the_runtime_crosses_the_line_packed_and_once(server: RunningServer, runtime: Path) -> None:
    path = "/local/runtime/ort-wasm-simd-threaded.wasm"
    plain = server.client.get(path)
    assert (plain.content, plain.headers["content-type"]) == (WASM, "application/wasm")
    (runtime / "ort-wasm-simd-threaded.wasm.gz").write_bytes(gzip.compress(WASM))
    packed = server.client.get(path)
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < 200
    assert packed.content == WASM
    again = server.client.get(path, headers={"If-None-Match": packed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    unpacked = server.client.get(path, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in unpacked.headers


def test_bundles_are_given_to_those_who_may_use_them(guarded: RunningServer) -> None:
    bundle = load_bundle()
    path = f"/local/bundles/{bundle.spec.model_sha256}"
    assert guarded.client.get(f"{path}/encoder.onnx").status_code == 401
    headers = {"Authorization": "Bearer alice"}
    for name in ("manifest.json", "encoder.onnx", "decoder.onnx"):
        reply = guarded.client.get(f"{path}/{name}", headers=headers)
        assert reply.content == (bundle.path / name).read_bytes()
    for name in ("golden.npz", "README.md", "..%2f..%2fpyproject.toml"):
        assert guarded.client.get(f"{path}/{name}", headers=headers).status_code == 404
    other = f"/local/bundles/{'0' * 64}/encoder.onnx"
    assert guarded.client.get(other, headers=headers).status_code == 404


def test_a_model_without_a_bundle_has_no_files(server: RunningServer) -> None:
    reply = server.client.get(f"/local/bundles/{SPEC.model_sha256}/encoder.onnx")
    assert reply.status_code == 404


@pytest.mark.parametrize(
    "path",
    ["codec/nothing.js", "codec/..%2fpackage.json", "codec/index.cjs", "runtime/ort.all.min.mjs"],
)
def test_no_path_leads_to_other_files(server: RunningServer, runtime: Path, path: str) -> None:
    (runtime / "ort.all.min.mjs").write_bytes(b"")
    assert server.client.get(f"/local/{path}").status_code == 404
