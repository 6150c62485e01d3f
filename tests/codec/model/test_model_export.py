"""Every front end and head as ONNX graphs: the same codes and sound as torch, streamed too."""

import numpy as np
import onnxruntime
import pytest
import torch
from codec_variants import HOP, VARIANTS, lived_in, noise

from grove.codec.model.codec import CodecNetwork
from grove.training.release.graphs import Graphs, build_graphs

EXPORTED = ("mdct", "stft", "stft-short-window", "mdct-subframe", "seanet")
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
