"""Every front end and head as ONNX graphs: the same codes and sound as torch, streamed too."""

import numpy as np
import onnxruntime
import pytest
import torch
from codec_variants import HOP, VARIANTS, lived_in, noise

from grove.codec.config import CodecSpec, GrvqConfig
from grove.codec.errors import BundleError
from grove.codec.exact.onnx_file import read_graph
from grove.codec.model.codec import CodecNetwork
from grove.codec.pretrained.architecture import architecture_of
from grove.codec.pretrained.constants import Constants
from grove.codec.pretrained.weights import fill, finished_codec
from grove.training.release.graphs import Graphs, build_graphs

EXPORTED = (
    "mdct",
    "stft",
    "stft-short-window",
    "mdct-subframe",
    "mdct-that-sees-subframes",
    "seanet",
)
BATCH, FRAMES = 3, 400

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=EXPORTED)
def exported(request: pytest.FixtureRequest) -> tuple[CodecNetwork, Graphs]:
    codec = lived_in(VARIANTS[request.param])
    codec.quantizer.freeze()
    return codec, build_graphs(codec)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("step", [1, 7, FRAMES])
def test_the_graphs_equal_torch(exported: tuple[CodecNetwork, Graphs], step: int) -> None:
    codec, graphs = exported
    encoder, decoder = session(graphs.encoder), session(graphs.decoder)
    pcm = noise(20, BATCH, FRAMES * HOP)
    with torch.no_grad():
        latent, _ = codec.encoder(pcm, torch.zeros(BATCH, codec.encoder.state_size))
        codes = codec.quantizer.encode(latent)
        levels = torch.randint(codec.quantizer.levels + 1, (BATCH, FRAMES))
        zeros = torch.zeros(BATCH, codec.decoder.state_size)
        heard, _ = codec.decoder(codec.quantizer.decode(codes, levels), levels, zeros)
    frames = pcm.reshape(BATCH, FRAMES, HOP).numpy()
    coded, sounds = [], []
    state = np.zeros((BATCH, codec.encoder.state_size), np.float32)
    back = np.zeros((BATCH, codec.decoder.state_size), np.float32)
    for start in range(0, FRAMES, step):
        part = slice(start, start + step)
        some, state = encoder.run(None, {"pcm": frames[:, part], "state": state})
        coded.append(some)
        feed = {"codes": codes[:, part].numpy(), "levels": levels[:, part].numpy(), "state": back}
        sound, back = decoder.run(None, feed)
        sounds.append(sound)
    agreement = (np.concatenate(coded, axis=1) == codes.numpy()).mean()
    assert agreement >= 0.9999
    heard_frames = heard.reshape(BATCH, FRAMES, HOP).numpy()
    assert np.abs(np.concatenate(sounds, axis=1) - heard_frames).max() <= 1e-4


def test_graphs_tell_what_the_codec_was_or_that_it_is_none_of_mdcts(
    exported: tuple[CodecNetwork, Graphs],
) -> None:
    codec, graphs = exported
    config, quantizer = codec.config, codec.config.quantizer
    assert isinstance(quantizer, GrvqConfig)
    spec = CodecSpec(
        name="small",
        version="0.0.1",
        model_sha256="0" * 64,
        sample_rate_hz=config.sample_rate_hz,
        hop_samples=config.hop_samples,
        delay_samples=codec.delay_samples,
        code_sizes=(quantizer.book_size,) * (quantizer.groups * quantizer.levels),
        codes_per_level=(quantizer.groups,) * quantizer.levels,
    )
    encoder, decoder = Constants(read_graph(graphs.encoder)), Constants(read_graph(graphs.decoder))
    if config.frontend.kind != "mdct":
        with pytest.raises(BundleError, match="is not an MDCT"):
            architecture_of(spec, encoder, decoder)
        return
    found = finished_codec(architecture_of(spec, encoder, decoder))
    fill(found, encoder, decoder)
    assert found.config.frontend == config.frontend
    assert found.config.head == config.head
    for name, value in codec.state_dict().items():
        assert torch.allclose(found.state_dict()[name], value, atol=1e-3, rtol=1e-3), name
