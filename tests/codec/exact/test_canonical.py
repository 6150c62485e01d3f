"""Canonical codes are those of exact arithmetic, however the stream is cut, whatever rounds it."""

from pathlib import Path

import numpy as np
import pytest

from grove.codec.arrays import F32, U16
from grove.codec.bundle import Bundle, load_bundle
from grove.codec.exact import canonical
from grove.codec.exact.canonical import CanonicalEncoder, Past
from grove.codec.exact.graph import ExactGraph, erf
from grove.codec.exact.onnx_file import read_graph, with_best_two
from grove.codec.runtime import Codec

EXPORTS = Path(__file__).parents[3] / "exports"
BUNDLES = sorted(path for path in EXPORTS.iterdir() if (path / "manifest.json").is_file())


@pytest.fixture(scope="module")
def encoder(codec: Codec) -> CanonicalEncoder:
    return CanonicalEncoder(codec.bundle)


def stepped(encoder: CanonicalEncoder, codec: Codec, pcm: F32, step_frames: int) -> U16:
    """Return codes [B, T, K], made step by step."""
    hop, state, parts = codec.spec.hop_samples, codec.encoder_state(len(pcm)), []
    pasts: list[Past] = [()] * len(pcm)
    for start in range(0, pcm.shape[1], step_frames * hop):
        piece = pcm[:, start : start + step_frames * hop]
        codes, state = encoder.encode_step(piece, state, pasts)
        pasts = [encoder.onward(past, row) for past, row in zip(pasts, piece, strict=True)]
        parts.append(codes)
    return np.concatenate(parts, axis=1)


def exact_codes(bundle: Bundle, pcm: F32) -> U16:
    frames = pcm.reshape(1, -1, bundle.spec.hop_samples)
    state = np.zeros((1, bundle.manifest.encoder_state))
    codes: U16 = ExactGraph(read_graph(bundle.encoder), "codes").run(pcm=frames, state=state)[0]
    return codes


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.name)
def test_every_shipped_encoder_has_an_exact_form(path: Path, clips: list[F32]) -> None:
    bundle = load_bundle(path)
    codec = Codec(bundle)
    pcm = clips[0][: 60 * bundle.spec.hop_samples]
    plain, _ = codec.encode_step(pcm[None], codec.encoder_state(1))
    assert (exact_codes(bundle, pcm) == plain[0]).mean() > 0.995


def test_the_best_two_change_nothing_of_what_was_found(codec: Codec, law_pcm: F32) -> None:
    encoder = CanonicalEncoder(codec.bundle)
    state = codec.encoder_state(1)
    pcm = law_pcm[:1, : 200 * codec.spec.hop_samples]
    frames = pcm.reshape(1, -1, codec.spec.hop_samples)
    feed = {"pcm": frames, "state": state}
    found, scores = encoder._session.run(["codes", "grove.near"], feed)
    plain, _ = codec.encode_step(pcm, state)
    # A call of 200 rows and one of 128 give the same codes: the law of test_runtime.
    assert np.array_equal(found, plain)
    assert scores.shape == (200, 24)
    assert (scores[:, ::2] >= scores[:, 1::2]).all()


def test_with_a_margin_for_every_frame_all_codes_are_the_exact_ones(
    codec: Codec, clips: list[F32], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canonical, "_MARGIN", np.inf)
    encoder = CanonicalEncoder(codec.bundle)
    pcm = clips[1][: 90 * codec.spec.hop_samples]
    wanted = exact_codes(codec.bundle, pcm)
    for step_frames in (90, 7, 1):
        found = stepped(encoder, codec, pcm[None], step_frames)[0]
        assert np.array_equal(found, wanted), step_frames


def test_chunks_and_batch_mates_move_no_canonical_code(
    encoder: CanonicalEncoder, codec: Codec, law_pcm: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canonical, "_MARGIN", 1e-4)  # so that a short stretch has such frames
    pcm = law_pcm[:3, : 320 * codec.spec.hop_samples]
    whole = stepped(encoder, codec, pcm, 320)
    before = encoder.settled_frames
    assert before > 3
    assert np.array_equal(stepped(encoder, codec, pcm, 48), whole)
    alone = [stepped(encoder, codec, row[None], 100)[0] for row in pcm]
    assert np.array_equal(np.stack(alone), whole)


def test_rounding_of_another_size_moves_plain_codes_and_no_canonical_one(
    codec: Codec, law_pcm: F32
) -> None:
    """Scores off by three times what other kernels are off by stand in for other kernels."""

    class Shaken(CanonicalEncoder):
        plain_moves = 0

        def __init__(self, bundle: Bundle) -> None:
            super().__init__(bundle)
            self._real, self._session = self._session, self  # type: ignore[assignment]
            self._dice = np.random.default_rng(6)

        def run(self, names: list[str], feed: dict[str, F32]) -> list[np.ndarray]:
            codes, scores, state = self._real.run(names, feed)
            lead = (scores[:, ::2] - scores[:, 1::2]).reshape(codes.shape)
            size = (np.abs(scores[:, ::2]) + self._scales).reshape(codes.shape)
            tipped = lead < self._dice.normal(0, 1.2e-6, lead.shape) * size
            self.plain_moves += int(tipped.sum())
            return [np.where(tipped, codes ^ 1, codes), scores, state]

    hop = codec.spec.hop_samples
    pcm = law_pcm[:, : 2400 * hop]
    shaken = Shaken(codec.bundle)
    found = stepped(shaken, codec, pcm, 16)
    assert shaken.plain_moves > 0
    assert np.array_equal(found, stepped(CanonicalEncoder(codec.bundle), codec, pcm, 16))


def test_the_past_of_a_step_is_no_longer_than_it_needs(encoder: CanonicalEncoder) -> None:
    past: Past = ()
    for number in range(200):
        past = encoder.onward(past, np.full(480, number, np.float32))
    assert encoder.past_samples == 37 * 480
    assert sum(map(len, past)) == encoder.past_samples
    assert [int(piece[0]) for piece in past] == list(range(163, 200))


def test_the_error_function_has_14_digits() -> None:
    import math  # noqa: PLC0415 - the oracle

    places = np.linspace(-7, 7, 4001)
    wanted = np.array([math.erf(place) for place in places])
    assert np.abs(erf(places) - wanted).max() < 1e-13


def test_a_graph_with_the_best_two_is_read_as_a_graph(codec: Codec) -> None:
    graph = read_graph(with_best_two(codec.bundle.encoder, "two"))
    kinds = [node.kind for node in graph.nodes]
    assert kinds.count("TopK") == 12
    assert "ArgMax" not in kinds
