"""Levels that guess how much the levels below them left over."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from grove.codec.config import EmaBookConfig, GrvqConfig, LookupBookConfig
from grove.codec.model.quantizers import Quantizer, build_quantizer
from grove.codec.model.quantizers.book import FitRows
from grove.codec.model.quantizers.gain import ResidualGain

DIM, GROUPS = 8, 2


def loud_and_quiet(seed: int, frames: int = 400) -> Tensor:
    """Latents [1, T, D] whose direction says how much noise lies on them."""
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randint(8, (frames,), generator=generator)
    centres = 3.0 * torch.nn.functional.one_hot(pick, DIM)
    spread = torch.logspace(-2, 0, 8)[pick].unsqueeze(-1)
    return (centres + spread * torch.randn(frames, DIM, generator=generator)).unsqueeze(0)


def trained(*, adaptive: bool) -> Quantizer:
    torch.manual_seed(0)
    book = EmaBookConfig(decay=0.9)
    config = GrvqConfig(groups=GROUPS, levels=3, book_size=16, adaptive=adaptive, book=book)
    quantizer = build_quantizer(config, DIM)
    optimizer = torch.optim.Adam([*quantizer.parameters(), torch.zeros(1)], lr=1e-2)
    for seed in range(150):
        loss = quantizer(loud_and_quiet(seed)).loss
        optimizer.zero_grad()
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
    return quantizer.eval()


@torch.no_grad()
def error_db(quantizer: Quantizer) -> float:
    """Return the mean over frames of the error in dB: each frame by its own measure."""
    x = loud_and_quiet(1000)
    error = (quantizer.decode(quantizer.encode(x)) - x).square().mean(-1)
    return float(10 * torch.log10(error).mean())


def test_guessed_gains_spend_the_same_bits_better() -> None:
    assert error_db(trained(adaptive=True)) < error_db(trained(adaptive=False)) - 3


def test_a_gain_starts_as_the_root_mean_square_of_what_is_left_over() -> None:
    gain = ResidualGain(DIM, GROUPS)
    residual = torch.cat([torch.full((5, 4), 0.5), torch.full((5, 4), 2.0)], dim=1)
    gain.start(residual, FitRows(None, (5,), may_start=True))
    spread = gain.spread(gain(torch.randn(3, DIM)))
    assert torch.allclose(spread, torch.tensor([0.5] * 4 + [2.0] * 4).expand(3, -1))


def test_the_loss_is_least_where_the_gain_is_the_root_mean_square() -> None:
    gain, residual = ResidualGain(DIM, 1), torch.full((1, DIM), 0.3)
    guesses = torch.linspace(-3, 1, 401).unsqueeze(-1)
    losses = gain.surprise(guesses, residual.expand(401, -1))
    assert float(guesses[losses.argmin()].exp()) == pytest.approx(0.3, rel=0.01)


def test_a_frame_is_decoded_from_its_own_codes_alone() -> None:
    quantizer, x = trained(adaptive=True), loud_and_quiet(5, frames=20)
    codes = quantizer.encode(x)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    assert torch.equal(quantizer.decode(codes[:, order]), quantizer.decode(codes)[:, order])


def test_only_averaged_books_adapt() -> None:
    with pytest.raises(ValidationError, match="'lookup'"):
        GrvqConfig(adaptive=True, book=LookupBookConfig())
