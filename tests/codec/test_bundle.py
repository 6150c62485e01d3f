"""A bundle is what its manifest says, or it is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from grove.codec.bundle import (
    DECODER,
    ENCODER,
    GOLDEN,
    MANIFEST,
    find_bundle,
    load_bundle,
    shipped_bundles,
)
from grove.codec.errors import BundleError
from grove.codec.runtime import Codec
from grove.codec.stream import decode, encode

LIMIT_BYTES = 16 << 20


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(find_bundle(), tmp_path / "bundle"))


def edit_manifest(folder: Path, key: str, value: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest[key] = value
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("folder", shipped_bundles(), ids=lambda path: path.name)
def test_shipped_bundles_verify_and_fit_their_limit(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert f"{bundle.spec.name}-{bundle.spec.version}" == folder.name
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LIMIT_BYTES


@pytest.mark.parametrize("folder", shipped_bundles(), ids=lambda path: path.name)
def test_shipped_bundles_reproduce_their_golden_vectors(folder: Path) -> None:
    codec = Codec(load_bundle(folder))
    golden = np.load(folder / GOLDEN, allow_pickle=False)
    pcm = (golden["pcm"] / 32768).astype(np.float32)
    codes = encode(codec, pcm)
    assert np.array_equal(codes, golden["codes"])
    decoded = [name for name in golden.files if name.startswith("decoded_")]
    assert decoded
    for name in decoded:
        audio = decode(codec, codes, len(pcm), int(name.removeprefix("decoded_")))
        assert np.abs(audio - golden[name]).max() < 1e-4


def test_hiss_does_not_repeat_at_the_frame_rate() -> None:
    codec = Codec(load_bundle())
    generator = np.random.default_rng(3)
    hiss = (0.05 * generator.standard_normal(2 * codec.spec.sample_rate_hz)).astype(np.float32)
    for level in (1, 6):
        audio = decode(codec, encode(codec, hiss), len(hiss), level)
        spectrum = np.fft.rfft(audio)
        spectrum[: len(spectrum) // 3] = 0  # below 4 kHz
        high = np.fft.irfft(spectrum, len(audio))
        now, before = high[codec.spec.hop_samples :], high[: -codec.spec.hop_samples]
        likeness = now @ before / np.sqrt((now @ now) * (before @ before))
        assert abs(float(likeness)) < 0.2


def test_the_default_is_found_without_a_name() -> None:
    assert load_bundle().spec.name == "grove-24k"


def test_a_bundle_is_found_by_name_and_by_name_and_version() -> None:
    newest = find_bundle("grove-24k")
    assert find_bundle(newest.name) == newest


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(BundleError, match="no bundle nightingale") as caught:
        load_bundle("nightingale")
    assert "grove-24k" in str(caught.value.hint)


@pytest.mark.parametrize("name", [ENCODER, DECODER, GOLDEN])
def test_a_changed_byte_in_any_file_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match="its manifest says"):
        load_bundle(copy)


@pytest.mark.parametrize("name", [ENCODER, DECODER, GOLDEN])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"cannot read .*{name}"):
        load_bundle(copy)


def test_graphs_of_another_model_are_refused_even_with_matching_file_hashes(copy: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["spec"]["model_sha256"] = "0" * 64
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="manifest names 000000000000"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("schema_version", 2, "schema_version"),
        ("surprise", 1, "surprise"),
        ("files", {}, "lists no file encoder.onnx"),
        ("files", {"../x": {"sha256": "0" * 64, "size_bytes": 1}}, "expected plain file names"),
    ],
)
def test_a_manifest_that_breaks_the_schema_is_refused(
    copy: Path, key: str, value: object, complaint: str
) -> None:
    edit_manifest(copy, key, value)
    with pytest.raises(BundleError, match=complaint):
        load_bundle(copy)


def test_a_manifest_that_is_not_json_is_refused(copy: Path) -> None:
    (copy / MANIFEST).write_text("not json")
    with pytest.raises(BundleError, match="is no manifest"):
        load_bundle(copy)


def test_a_huge_manifest_is_refused_unread(copy: Path) -> None:
    (copy / MANIFEST).write_bytes(b" " * (2 << 20))
    with pytest.raises(BundleError, match="is larger than"):
        load_bundle(copy)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot read"):
        load_bundle(tmp_path)
