"""The interface of transformers over our codec: same scripts, and batches never change a token."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

import grove
from grove.codec.arrays import F32
from grove.codec.auto.arrays import ShapeError
from grove.codec.auto.features import AutoFeatureExtractor
from grove.codec.auto.model import AutoCodec, UnsupportedError
from grove.codec.auto.peers import EncodecModel
from grove.codec.bundle import find_bundle, load_bundle
from grove.codec.errors import BundleError, StreamError
from grove.codec.resample import resample
from grove.codec.runtime import Codec
from grove.codec.stream import decode, encode

CLIPS = 500


@pytest.fixture(scope="module")
def model(codec: Codec) -> AutoCodec:
    return AutoCodec(codec)


def random_clips(clips: list[F32], count: int, longest_s: float, seed: int) -> list[F32]:
    """Cut `count` pieces of random length, some of a single sample, out of real speech."""
    rng = np.random.default_rng(seed)
    speech = np.concatenate(clips)
    lengths = rng.integers(1, round(longest_s * 24_000), count)
    starts = rng.integers(0, len(speech) - lengths.max(), count)
    return [speech[start : start + n] for start, n in zip(starts, lengths, strict=True)]


def padded(clips: list[F32]) -> tuple[F32, np.ndarray]:
    longest = max(map(len, clips))
    values = np.full((len(clips), 1, longest), 0.25, np.float32)  # padding that would be heard
    mask = np.zeros((len(clips), longest), np.int64)
    for index, clip in enumerate(clips):
        values[index, 0, : len(clip)] = clip
        mask[index, : len(clip)] = 1
    return values, mask


def test_batch_and_padding_change_no_token_of_500_clips(model: AutoCodec, clips: list[F32]) -> None:
    pieces = random_clips(clips, CLIPS, 0.6, seed=6)
    differing = 0
    for start in range(0, CLIPS, 100):
        part = pieces[start : start + 100]
        values, mask = padded(part)
        output = model.encode(values, 24_000, padding_mask=mask)
        for row, clip in enumerate(part):
            alone = encode(model.codec, clip).T
            own = output.audio_codes[row][:, output.audio_codes_mask[row]]
            assert own.shape == alone.shape
            differing += int((own != alone).sum())
    assert differing == 0


def test_left_padding_changes_no_token(model: AutoCodec, clips: list[F32]) -> None:
    clip = clips[0][:10_000]
    values = np.concatenate((np.full(777, 0.3, np.float32), clip))
    mask = np.arange(len(values)) >= 777
    output = model.encode(values, None, mask)
    assert np.array_equal(output.audio_codes[0], encode(model.codec, clip).T)


def test_a_batch_decodes_as_each_row_alone(model: AutoCodec, clips: list[F32]) -> None:
    pieces = random_clips(clips, 12, 1.5, seed=7)
    values, mask = padded(pieces)
    coded = model.encode(values, padding_mask=mask)
    audio = model.decode(coded.audio_codes, mask).audio_values
    assert audio.shape == values.shape
    for row, clip in enumerate(pieces):
        alone = decode(model.codec, encode(model.codec, clip), len(clip))
        assert np.array_equal(audio[row, 0, : len(clip)], alone)


def test_frames_masked_out_are_silent(model: AutoCodec, clips: list[F32]) -> None:
    values, mask = padded([clips[0][:24_000], clips[1][:5_000]])
    coded = model.encode(values, padding_mask=mask)
    audio = model.decode(coded.audio_codes, audio_codes_mask=coded.audio_codes_mask).audio_values
    assert np.abs(audio[0, 0]).max() > 0
    assert not audio[1, 0, int(coded.audio_codes_mask[1].sum()) * 480 :].any()


def test_torch_in_is_torch_out_with_the_same_numbers(model: AutoCodec, clips: list[F32]) -> None:
    values, mask = padded([clips[0][:20_000], clips[1][:7_000]])
    plain = model.encode(values, padding_mask=mask)
    tensors = model.encode(torch.from_numpy(values), padding_mask=torch.from_numpy(mask))
    assert isinstance(tensors.audio_codes, torch.Tensor)
    assert tensors.audio_codes.dtype == torch.int64
    assert np.array_equal(tensors.audio_codes.numpy(), plain.audio_codes)
    audio = model.decode(tensors.audio_codes).audio_values
    assert isinstance(audio, torch.Tensor)
    assert np.array_equal(audio.numpy(), model.decode(plain.audio_codes).audio_values)


def test_levels_books_and_bandwidth_mean_the_same(
    model: AutoCodec, codec: Codec, clips: list[F32]
) -> None:
    pcm = clips[0][:24_000]
    books = codec.spec.codes_at(2)
    by_level = model.encode(pcm, levels=2).audio_codes
    assert by_level.shape[1] == books
    assert np.array_equal(model.encode(pcm, num_quantizers=books).audio_codes, by_level)
    assert np.array_equal(model.encode(pcm).audio_codes[:, :books], by_level)
    as_encodec = EncodecModel(codec).encode(pcm, bandwidth=model.config.target_bandwidths[1])
    assert np.array_equal(as_encodec.audio_codes[0], by_level)
    assert np.array_equal(
        model.decode(by_level).audio_values, EncodecModel(codec).decode(by_level[None])[0]
    )


def test_mimis_order_of_arguments_is_understood(model: AutoCodec, clips: list[F32]) -> None:
    values, mask = padded([clips[0][:9_000], clips[1][:5_000]])
    named = model.encode(values, padding_mask=mask, num_quantizers=4)
    positional = model.encode(values, mask, 4)
    assert np.array_equal(positional.audio_codes, named.audio_codes)
    assert np.array_equal(positional.audio_codes_mask, named.audio_codes_mask)


def test_another_rate_is_resampled_first(model: AutoCodec, clips: list[F32]) -> None:
    at_16k = resample(clips[0][:24_000], 24_000, 16_000)
    expected = model.encode(resample(at_16k, 16_000, 24_000))
    assert np.array_equal(model.encode(at_16k, 16_000).audio_codes, expected.audio_codes)


def test_a_streaming_session_gives_the_tokens_and_sound_of_the_whole(
    model: AutoCodec, clips: list[F32]
) -> None:
    pcm = clips[0][:20_003]
    whole = model.encode(pcm, levels=3).audio_codes
    session = model.streaming(levels=3)
    parts = [session.encode(pcm[start : start + 1_111]) for start in range(0, len(pcm), 1_111)]
    codes = np.concatenate([*parts, session.finish()], axis=2)
    assert np.array_equal(codes, whole)
    heard = [session.decode(codes[:, :, at : at + 3]) for at in range(0, codes.shape[2], 3)]
    assert np.array_equal(np.concatenate(heard, axis=2), model.decode(whole).audio_values)


def test_a_session_ends_in_the_kind_of_array_that_it_was_given(
    model: AutoCodec, clips: list[F32]
) -> None:
    pcm = clips[0][:5_003]
    session = model.streaming()
    parts = [session.encode(torch.from_numpy(pcm)), session.finish()]
    assert np.array_equal(torch.cat(parts, dim=2).numpy(), model.encode(pcm).audio_codes)


def test_config_has_the_names_that_transformers_uses(model: AutoCodec, codec: Codec) -> None:
    config = model.config
    assert (config.sampling_rate, config.frame_rate) == (24_000, 50)
    assert config.num_quantizers == len(codec.spec.code_sizes)
    assert config.codebook_size == max(codec.spec.code_sizes)
    assert config.model_sha256 == codec.spec.model_sha256


def test_the_feature_extractor_pads_as_transformers_does() -> None:
    extractor = AutoFeatureExtractor(24_000)
    clips = [np.ones(3, np.float32), np.ones(5, np.float32)]
    batch = extractor(clips, sampling_rate=24_000, return_tensors="pt")
    assert batch.input_values.shape == (2, 1, 5)
    assert batch["padding_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert extractor([0.0, 1.0]).input_values.shape == (1, 1, 2)


def test_what_cannot_be_meant_is_refused(model: AutoCodec, codec: Codec) -> None:
    pcm = np.zeros(960, np.float32)
    with pytest.raises(ShapeError, match="int16, expected float"):
        model.encode(np.zeros(960, np.int16))
    with pytest.raises(ShapeError, match=r"shape \(1, 2, 960\)"):
        model.encode(np.zeros((1, 2, 960), np.float32))
    with pytest.raises(ShapeError, match="row 0 has holes"):
        model.encode(pcm, None, np.arange(960) % 2)
    with pytest.raises(ShapeError, match="got 13 books, expected 1 to 12"):
        model.encode(pcm, num_quantizers=13)
    with pytest.raises(StreamError, match="levels is 99"):
        model.encode(pcm, levels=99)
    with pytest.raises(ShapeError, match="not a number"):
        model.encode(np.full(960, np.nan, np.float32))
    with pytest.raises(ShapeError, match="from -1 to -1"):
        model.decode(np.full((1, 2, 3), -1))
    with pytest.raises(UnsupportedError, match=r"bandwidth is 7\.5 kbit/s, expected one of 1, 2"):
        EncodecModel(codec).encode(pcm, bandwidth=7.5)
    with pytest.raises(UnsupportedError, match="device is cuda"):
        model.to("cuda")


def test_importing_the_interface_does_not_load_torch() -> None:
    probe = (
        "import sys\n"
        "import grove\n"
        "assert not any(name.startswith(('grove.', 'onnxruntime')) for name in sys.modules)\n"
        "from grove import AutoCodec, AutoFeatureExtractor, EncodecModel, VocabSpec\n"
        "import numpy\n"
        "model = AutoCodec.from_pretrained()\n"
        "model.decode(model.encode(numpy.zeros(960, numpy.float32)).audio_codes)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        _ = grove.Nonsense


# --- scripts written for transformers ----------------------------------------------------

MIMI_SCRIPT = """
import sys
import torch
from transformers import AutoFeatureExtractor, MimiModel

model = MimiModel.from_pretrained(sys.argv[1]).to("cpu").eval()
extractor = AutoFeatureExtractor.from_pretrained(sys.argv[1])
generator = torch.Generator().manual_seed(0)
clips = [torch.rand(n, generator=generator).numpy() - 0.5 for n in (24_000, 31_000)]
inputs = extractor(raw_audio=clips, sampling_rate=extractor.sampling_rate, padding=True,
                   return_tensors="pt")
with torch.no_grad():
    coded = model.encode(inputs["input_values"], inputs["padding_mask"], num_quantizers=4)
codes = coded.audio_codes
batch, books, frames = codes.shape
embedding = torch.nn.Embedding(books * model.config.codebook_size, 16)
head = torch.nn.Linear(16, model.config.codebook_size)
offsets = torch.arange(books)[None, :, None] * model.config.codebook_size
logits = head(embedding(codes + offsets).sum(1))[:, :-1]
loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), codes[:, 0, 1:].flatten())
loss.backward()
with torch.no_grad():
    audio = model.decode(codes, inputs["padding_mask"])[0]
assert audio.shape == inputs["input_values"].shape, audio.shape
assert torch.isfinite(audio).all() and loss > 0
print("trained on", batch, books)
"""

ENCODEC_SCRIPT = """
import sys
import torch
from transformers import AutoFeatureExtractor, EncodecModel

model = EncodecModel.from_pretrained(sys.argv[1])
extractor = AutoFeatureExtractor.from_pretrained(sys.argv[1])
generator = torch.Generator().manual_seed(0)
clips = [torch.rand(n, generator=generator).numpy() - 0.5 for n in (24_000, 31_000)]
inputs = extractor(raw_audio=clips, sampling_rate=extractor.sampling_rate, padding=True,
                   return_tensors="pt")
with torch.no_grad():
    coded = model.encode(inputs["input_values"], inputs["padding_mask"], bandwidth=6.0)
    audio = model.decode(coded.audio_codes, coded.audio_scales, inputs["padding_mask"])[0]
chunks, batch, books, frames = coded.audio_codes.shape
assert audio.shape == inputs["input_values"].shape, audio.shape
assert torch.isfinite(audio).all()
print("trained on", batch, chunks)
"""

SAVE_PEERS = """
import sys
from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel, MimiConfig, MimiModel

mimi = MimiConfig(hidden_size=32, num_filters=4, num_hidden_layers=1, num_attention_heads=2,
                  num_key_value_heads=2, head_dim=16, intermediate_size=32, codebook_dim=16,
                  codebook_size=32, vector_quantization_hidden_dimension=16, num_quantizers=8,
                  upsample_groups=32)
MimiModel(mimi).save_pretrained(sys.argv[1])
EncodecModel(EncodecConfig(num_filters=4, num_lstm_layers=1)).save_pretrained(sys.argv[2])
for folder in sys.argv[1:]:
    EncodecFeatureExtractor().save_pretrained(folder)
"""

SCRIPTS = pytest.mark.parametrize("script", [MIMI_SCRIPT, ENCODEC_SCRIPT], ids=["mimi", "encodec"])


@SCRIPTS
def test_a_script_changes_one_import_line(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = script.replace("from transformers import", "from grove import")
    changed = [a != b for a, b in zip(script.splitlines(), ours.splitlines(), strict=True)]
    assert sum(changed) == 1
    monkeypatch.setattr(sys, "argv", ["script", "grove-24k"])
    exec(compile(ours, "script", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.startswith("trained on 2 ")


@pytest.mark.slow
def test_the_same_scripts_run_on_transformers(tmp_path: Path) -> None:
    folders = [str(tmp_path / "mimi"), str(tmp_path / "encodec")]
    # torchaudio's extension wants CUDA even beside a torch without; transformers can do without.
    hidden = "import sys\nsys.modules['torchaudio'] = None\n"
    runs = [(SAVE_PEERS, folders), (MIMI_SCRIPT, folders[:1]), (ENCODEC_SCRIPT, folders[1:])]
    for script, arguments in runs:
        done = subprocess.run(
            [sys.executable, "-c", hidden + script, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trained on 2 ")


SPAWNED = """
import sys

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from grove import AutoCodec


class Noise(Dataset):
    def __init__(self, codec):
        self.codec = codec

    def __len__(self):
        return 4

    def __getitem__(self, index):
        noise = np.random.default_rng(index).normal(0, 0.1, 4800).astype(np.float32)
        return torch.from_numpy(self.codec.encode(noise).audio_codes[0])


if __name__ == "__main__":
    torch.set_num_threads(1)
    data = Noise(AutoCodec.from_pretrained("grove-24k"))
    loader = DataLoader(data, 2, num_workers=1, multiprocessing_context="spawn")
    found = torch.cat(list(loader))
    assert torch.equal(found, torch.stack([data[index] for index in range(4)]))
    print(tuple(found.shape))
"""


def test_a_copy_and_a_pickled_model_give_the_same_tokens(
    model: AutoCodec, clips: list[F32]
) -> None:
    wanted = model.encode(clips[0]).audio_codes
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other.encode(clips[0]).audio_codes, wanted)
    assert len(pickle.dumps(model)) < 10_000


def test_a_pickled_bundle_that_was_replaced_is_refused(codec: Codec, tmp_path: Path) -> None:
    folder = shutil.copytree(codec.bundle.path, tmp_path / "model")
    sent = pickle.dumps(Codec(load_bundle(folder)))
    shutil.rmtree(folder)
    shutil.copytree(find_bundle("grove-24k-lm"), folder)
    with pytest.raises(BundleError, match="it was sent as"):
        pickle.loads(sent)


@pytest.mark.slow
def test_a_dataloader_that_spawns_workers_loads_the_model_there(tmp_path: Path) -> None:
    (tmp_path / "load.py").write_text(SPAWNED)
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, tmp_path / "load.py"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(4, 12, 11)\n"


def test_memory_does_not_grow_with_the_length_of_what_is_encoded(model: AutoCodec) -> None:
    audio = np.zeros(300 * 24_000, np.float32)
    model.encode(audio[:24_000])
    tracemalloc.start()
    codes = model.encode(audio).audio_codes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes.shape == (1, 12, 15_001)
    assert peak < audio.nbytes / 2


def test_where_the_mask_has_padding_is_silence(model: AutoCodec, clips: list[F32]) -> None:
    values, mask = padded([clips[0][:12_000], clips[1][:7_000]])
    codes = model.encode(values, padding_mask=mask).audio_codes
    audio = model.decode(codes, mask).audio_values
    assert audio.shape == values.shape
    assert np.abs(audio[1, 0, 6_000:7_000]).max() > 0
    assert (audio[1, 0, 7_000:] == 0).all()
    moved = model.decode(codes, mask[:, ::-1]).audio_values
    assert np.array_equal(moved[1, 0, 5_000:], audio[1, 0, :7_000])
    assert (moved[1, 0, :5_000] == 0).all()
