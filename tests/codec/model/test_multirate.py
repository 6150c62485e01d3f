"""The head whose thin layers run at rising rates."""

import torch
from torch.nn import functional as F

from codec.config import MultirateConfig
from codec.model.heads import MultirateHead
from codec.model.multirate import Rise, rising_rates


def test_each_stage_runs_at_its_own_rate() -> None:
    chain = rising_rates(32, MultirateConfig(upsampling=(4, 5), widths=(16, 8), blocks=1))
    x = torch.randn(2, 3, 32)
    y, state = chain(x, torch.zeros(2, chain.state_size))
    assert y.shape == (2, 3 * 20, 8)
    assert state.shape == (2, 6 * 16 + 6 * 8)


def test_a_row_spreads_into_rows_of_its_own_time() -> None:
    rise = Rise(8, 10, times=3, blocks=1)
    x = torch.zeros(1, 4, 8)
    base, _ = rise(x, torch.zeros(1, rise.state_size))
    x[0, 2] = torch.randn(8)
    changed, _ = rise(x, torch.zeros(1, rise.state_size))
    first = int((base != changed).any(dim=2)[0].nonzero().min())
    assert first == 2 * 3


def test_the_default_head_makes_24_samples_a_step_without_delay() -> None:
    head = MultirateHead(480, 256, MultirateConfig())
    assert head.samples.out_features == 24
    assert head.delay_samples == 0
    assert head.state_size == 2 * 6 * (128 + 64)


def test_a_fresh_head_is_quiet() -> None:
    torch.manual_seed(0)
    head = MultirateHead(480, 64, MultirateConfig())
    hidden = F.layer_norm(torch.randn(1, 20, 64), (64,))
    pcm, _ = head(hidden, hidden, torch.zeros(1, head.state_size))
    assert pcm.shape == (1, 20 * 480)
    assert 1e-4 < pcm.std() < 0.1
