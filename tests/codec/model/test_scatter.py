"""Signs by chance: even, unlike from frame to frame, and a function of the last frames alone."""

import numpy as np
import pytest
import torch
from codec_variants import HOP, MDCT, SCATTERED, lived_in, small
from torch import Tensor

from grove.codec.config import MdctHeadConfig
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.scatter import Scatter, sign_table

PAST = 15


def latents(frames: int, seed: int = 0) -> Tensor:
    return torch.randn(1, frames, 12, generator=torch.Generator().manual_seed(seed))


def signs(scatter: Scatter, latent: Tensor) -> Tensor:
    return scatter(latent, torch.zeros(len(latent), scatter.state_size))[0]


def test_the_table_is_even_in_rows_and_columns() -> None:
    table = sign_table(360).float()
    assert set(table.unique().tolist()) == {-1.0, 1.0}
    assert float(table.mean(0).abs().max()) < 0.3
    assert float(table.mean(1).abs().max()) < 0.3
    likeness = table @ table.T / 360 - torch.eye(len(table))
    assert float(likeness.abs().max()) < 0.35


def test_neighbouring_frames_have_unlike_signs() -> None:
    drawn = signs(Scatter(12, 200), latents(400))[0]
    for lag in (1, 2, 3):
        assert float((drawn[lag:] * drawn[:-lag]).mean().abs()) < 0.05


def test_a_sound_that_stands_still_is_scattered_while_its_past_moves() -> None:
    latent = latents(40)
    latent[:, 20:] = 0
    drawn = signs(Scatter(12, 200), latent)[0]
    lost = drawn[20 : 20 + PAST]
    assert float((lost[1:] * lost[:-1]).mean().abs()) < 0.1


def test_what_lies_further_back_than_the_memory_is_forgotten() -> None:
    scatter = Scatter(12, 50)
    one, other = latents(40), latents(40)
    other[:, :10] = latents(10, seed=1)
    drawn = [signs(scatter, latent) for latent in (one, other)]
    assert not torch.equal(drawn[0][:, : 10 + PAST], drawn[1][:, : 10 + PAST])
    assert torch.equal(drawn[0][:, 10 + PAST :], drawn[1][:, 10 + PAST :])


def test_only_coefficients_from_the_frequency_up_are_scattered() -> None:
    codec = lived_in(small(MDCT, SCATTERED))
    plain = CodecNetwork(small(MDCT, SCATTERED.model_copy(update={"scatter_from_hz": None}))).eval()
    plain.load_state_dict(codec.state_dict())
    head = codec.decoder.head
    assert head.kept == HOP * 3000 // 12_000
    latent = latents(20)
    levels = torch.full((1, 20), codec.quantizer.levels)
    with torch.no_grad():
        heard = [
            c.decoder(latent, levels, torch.zeros(1, c.decoder.state_size))[0][0]
            for c in (codec, plain)
        ]
    spectra = [np.abs(np.fft.rfft(pcm.numpy())) for pcm in heard]
    difference = np.abs(np.fft.rfft((heard[0] - heard[1]).numpy()))
    frequency = np.fft.rfftfreq(20 * HOP, 1 / 24_000)
    assert difference[frequency < 1500].max() < 0.05 * spectra[1].max()
    assert difference[frequency > 4500].max() > 0.2 * spectra[1][frequency > 4500].max()


@pytest.mark.parametrize("hertz", [0, 12_000, 48_000])
def test_any_border_is_a_codec(hertz: int) -> None:
    codec = CodecNetwork(
        small(MDCT, MdctHeadConfig(overlap_samples=24, scatter_from_hz=hertz))
    ).eval()
    assert codec(torch.randn(1, 10 * HOP)).pcm.isfinite().all()
