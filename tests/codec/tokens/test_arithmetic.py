"""What computed the codes is on the card, and what may differ in a code is not put together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from corpus_cases import BUNDLE, contents, make_corpus, request

from grove.codec.arrays import F32
from grove.codec.channels import down_mix
from grove.codec.exact.canonical import CanonicalEncoder
from grove.codec.exact.kernels import class_of, kernel_class
from grove.codec.sound.source import open_audio
from grove.codec.stream import FrameFeed
from grove.codec.tokens import records
from grove.codec.tokens.reading import TokenFolder
from grove.codec.tokens.records import TokensError
from grove.codec.tokens.rewrite import rewrite
from grove.codec.tokens.run import tokenize


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, clips: list[F32]) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), clips, count=6)


@pytest.fixture(scope="module")
def tokens(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tokens") / "plain"
    assert tokenize(request(corpus, out)) is not None
    return out


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("fpu sse2", "SSE"),
        ("sse2 avx", "AVX"),
        ("avx avx2", "AVX"),
        ("avx avx2 fma", "AVX2"),
        ("avx avx2 fma avx512f avx512bw avx512dq avx512vl", "AVX-512"),
    ],
)
def test_a_processor_is_known_by_the_widest_instructions(flags: str, name: str) -> None:
    assert class_of(f"processor\t: 0\nflags\t\t: {flags}\n") == name
    assert class_of("Features : asimd\n") == ""


def test_a_card_says_what_computed_the_codes_and_others_are_not_mixed_in(
    corpus: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = TokenFolder(tokens).run.card
    assert card.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert card.kernels == kernel_class()
    other = tmp_path / "other"
    plain = request(corpus, other)
    monkeypatch.setattr(records, "runtime_version", lambda: "onnxruntime 1.0")
    tokenize(plain)
    with pytest.raises(TokensError, match=r"onnxruntime 1\.0 on .* against .*onnxruntime 1\.[1-9]"):
        rewrite([TokenFolder(tokens), TokenFolder(other)], tmp_path / "both", "parquet")
    monkeypatch.undo()
    with pytest.raises(TokensError, match=r"was begun with .*onnxruntime 1\.0 on"):
        tokenize(replace(plain, resume=True))


def test_canonical_codes_state_themselves_and_may_be_mixed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def canonical(name: str) -> Path:
        plain = request(corpus, tmp_path / name)
        settings = plain.settings.model_copy(update={"canonical": True})
        manifest = tokenize(replace(plain, settings=settings))
        assert manifest is not None
        assert (manifest.card.canonical, manifest.card.runtime) == (1, None)
        return tmp_path / name

    here = canonical("here")
    monkeypatch.setattr(records, "runtime_version", lambda: "onnxruntime 1.0")
    there = canonical("there")
    assert contents(here) == contents(there)
    rewrite([TokenFolder(here), TokenFolder(there)], tmp_path / "both", "parquet")
    bundle = CanonicalEncoder(BUNDLE)
    row = next(row for row in TokenFolder(here).rows() if row.meta.n_frames > 20)
    with open_audio(corpus / row.meta.id) as source:
        feed = FrameFeed(BUNDLE.spec, source.sample_rate_hz)
        frames = [feed.push(down_mix(block)) for block in source]
    pcm = np.concatenate([*frames, feed.finish()]).reshape(1, -1)
    state = np.zeros((1, BUNDLE.manifest.encoder_state), np.float32)
    codes, _ = bundle.encode_step(pcm, state, [()])
    assert np.array_equal(row.codes, codes[0])
