"""A checkpoint becomes a bundle that equals it, or nothing at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import ToneBatches, tiny_recipe

from grove.codec.bundle import load_bundle
from grove.codec.errors import BundleError, ConfigError
from grove.codec.runtime import Codec
from grove.codec.stream import decode, encode
from grove.training.checkpoint import load_checkpoint, save_checkpoint
from grove.training.config import Recipe
from grove.training.ranks import Ranks
from grove.training.release.export import ExportOptions, export, frozen_codec
from grove.training.trainer import Trainer

# torch's exporter warns of its own internals.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")

CLIPS = tuple(sorted((Path(__file__).parent.parent.parent / "fixtures").glob("speech-*.flac"))[:2])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe()
    folder = tmp_path_factory.mktemp("run")
    trainer = Trainer(recipe, ToneBatches(recipe), folder, Ranks(0, 1, torch.device("cpu")))
    trainer.run(8, lambda _report: None)
    state = trainer.average.model_state(trainer.codec)
    content = {"step": 8, "codec": state, "recipe": recipe.model_dump_json()}
    save_checkpoint(folder / "best.pt", content)
    return folder / "best.pt"


def options(checkpoint: Path, out: Path) -> ExportOptions:
    return ExportOptions(checkpoint, out, "tiny", "1.2.3", "CC0-1.0", "A test.", CLIPS)


@pytest.fixture(scope="module")
def bundle_folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "tiny-1.2.3"
    proof = export(options(checkpoint, out))
    assert proof.frames > 200
    assert proof.equal_codes >= 0.9999
    assert proof.pcm_error < 1e-4
    return out


def test_the_bundle_says_what_it_is(bundle_folder: Path) -> None:
    manifest = load_bundle(bundle_folder).manifest
    assert (manifest.spec.name, manifest.spec.version) == ("tiny", "1.2.3")
    assert manifest.spec.codes_per_level == (2, 2)
    assert manifest.training["steps"] == 8
    assert (bundle_folder / "README.md").read_text().startswith("# tiny 1.2.3")
    assert not list(bundle_folder.parent.glob("*.partial"))


def test_the_bundle_decodes_as_torch_does(bundle_folder: Path, checkpoint: Path) -> None:
    content = load_checkpoint(checkpoint)
    codec = frozen_codec(Recipe.model_validate_json(content["recipe"]), content["codec"])
    runtime = Codec(load_bundle(bundle_folder))
    pcm = ToneBatches(tiny_recipe()).batch(5)[0]
    codes = encode(runtime, pcm)
    with torch.no_grad():
        output = codec(torch.from_numpy(pcm)[None])
    assert np.array_equal(output.codes[0].numpy(), codes)
    assert np.abs(output.pcm[0].numpy() - decode(runtime, codes, len(pcm))).max() < 1e-4


def test_half_of_the_weights_bytes_are_saved(bundle_folder: Path, checkpoint: Path) -> None:
    wide = sum(
        value.numel() * 4
        for value in load_checkpoint(checkpoint)["codec"].values()
        if torch.is_tensor(value) and value.numel() >= 4096
    )
    stored = len(load_bundle(bundle_folder).encoder) + len(load_bundle(bundle_folder).decoder)
    signs = 256 * 360  # drawn once, a byte each
    assert stored < 0.5 * wide + 200_000 + signs


def test_an_existing_release_is_never_overwritten(bundle_folder: Path, checkpoint: Path) -> None:
    with pytest.raises(BundleError, match="exists"):
        export(options(checkpoint, bundle_folder))


def test_a_failed_export_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    broken = options(checkpoint, tmp_path / "out")._replace(clips=(tmp_path / "missing.flac",))
    with pytest.raises(Exception, match=r"missing\.flac"):
        export(broken)
    assert list(tmp_path.iterdir()) == []


def test_books_that_never_started_are_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    trainer = Trainer(recipe, ToneBatches(recipe), tmp_path, Ranks(0, 1, torch.device("cpu")))
    trainer.run(1, lambda _report: None)
    with pytest.raises(ConfigError, match="books never started"):
        frozen_codec(recipe, trainer.codec.state_dict())
