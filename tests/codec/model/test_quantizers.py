"""The laws that every kind of quantizer keeps."""

import copy
import io

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from grove.codec.config import (
    BridgeBookConfig,
    CodecConfig,
    EmaBookConfig,
    FsqConfig,
    GrvqConfig,
    IfsqConfig,
    LookupBookConfig,
    McrvqConfig,
    QuantizerConfig,
    RvqConfig,
    SimBookConfig,
    SimVqConfig,
    VqBridgeConfig,
    VqConfig,
)
from grove.codec.errors import ConfigError
from grove.codec.model.quantizers import Quantized, Quantizer, build_quantizer
from grove.codec.model.quantizers.residual import ResidualQuantizer

DIM = 12
BATCH, FRAMES = 3, 40
BRIDGE = BridgeBookConfig(width=16, blocks=1, patch=2)
LOOKUP = LookupBookConfig(dim=4)

CONFIGS: dict[str, QuantizerConfig] = {
    "rvq": RvqConfig(levels=3, book_size=16),
    "rvq-bridge": RvqConfig(levels=2, book_size=16, book=BRIDGE),
    "rvq-lookup": RvqConfig(levels=3, book_size=16, book=LOOKUP),
    "grvq": GrvqConfig(groups=2, levels=3, book_size=16),
    "grvq-adaptive": GrvqConfig(groups=2, levels=3, book_size=16, adaptive=True),
    "grvq-shape": GrvqConfig(groups=2, levels=3, book_size=16, adaptive=True, shape_levels=1),
    "grvq-sim": GrvqConfig(groups=3, levels=2, book_size=16, book=SimBookConfig()),
    "grvq-lookup": GrvqConfig(groups=2, levels=3, book_size=16, book=LOOKUP),
    "mcrvq": McrvqConfig(masked_books=3, books=5, book_size=16),
    "mcrvq-lookup": McrvqConfig(masked_books=3, books=5, book_size=16, book=LOOKUP),
    "vq": VqConfig(book_size=32, book=EmaBookConfig(kmeans_iterations=20)),
    "simvq": SimVqConfig(book_size=32),
    "vqbridge": VqBridgeConfig(book_size=36, book=BRIDGE),
    "fsq": FsqConfig(levels=3, steps=(8, 5, 5)),
    "fsq-as-wide-as-the-latent": FsqConfig(levels=4, steps=(4, 3, 2)),
    "ifsq": IfsqConfig(levels=3, steps=(7, 5)),
}
every_kind = pytest.mark.parametrize("kind", CONFIGS)


def latent(seed: int, frames: int = FRAMES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # Correlated and uneven channels, as an encoder's are.
    mix = torch.randn(DIM, DIM, generator=generator) * torch.linspace(1.0, 0.1, DIM)
    return torch.randn(BATCH, frames, DIM, generator=generator) @ mix / DIM**0.5


def random_levels(quantizer: Quantizer, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(quantizer.levels + 1, (BATCH, FRAMES), generator=generator)


def train_step(quantizer: Quantizer, optimizer: torch.optim.Optimizer | None, seed: int) -> None:
    x = latent(seed)
    result: Quantized = quantizer(x, random_levels(quantizer, seed))
    if optimizer is not None:
        optimizer.zero_grad()
        (result.loss + (result.latent - x).square().mean()).backward()
        optimizer.step()


def trained(kind: str, steps: int = 12) -> Quantizer:
    torch.manual_seed(0)
    quantizer = build_quantizer(CONFIGS[kind], DIM)
    weights = list(quantizer.parameters())
    optimizer = torch.optim.Adam(weights, lr=1e-2) if weights else None
    for step in range(steps):
        train_step(quantizer, optimizer, step)
    quantizer.zero_grad()
    return quantizer.eval()


@every_kind
def test_encode_gives_the_codes_of_forward(kind: str) -> None:
    quantizer, x = trained(kind), latent(100)
    codes = quantizer(x, random_levels(quantizer, 0)).codes
    assert torch.equal(quantizer.encode(x), codes)
    for book in range(codes.shape[-1]):
        assert codes[..., book].unique().numel() > 2


@every_kind
def test_encode_gives_the_codes_of_forward_while_training(kind: str) -> None:
    quantizer, x = trained(kind).train(), latent(100)
    before = quantizer.encode(x)
    assert torch.equal(before, quantizer(x).codes)


@every_kind
def test_decode_gives_the_latent_of_forward_at_any_levels(kind: str) -> None:
    quantizer, x = trained(kind), latent(101)
    levels = random_levels(quantizer, 1)
    full, dropped = quantizer(x), quantizer(x, levels)
    assert torch.equal(quantizer.decode(full.codes), full.latent)
    assert torch.equal(quantizer.decode(dropped.codes, levels), dropped.latent)
    assert not torch.equal(full.latent, dropped.latent)


@every_kind
def test_codes_lie_within_their_sizes_for_any_latent(kind: str) -> None:
    quantizer = trained(kind)
    extremes = torch.cat([latent(1) * 1e6, latent(2), latent(3) * 0.0], dim=1)
    codes = quantizer.encode(extremes)
    assert codes.dtype == torch.int64
    assert codes.shape == (BATCH, 3 * FRAMES, len(quantizer.code_sizes))
    assert sum(quantizer.codes_per_level) == len(quantizer.code_sizes)
    assert bool((codes >= 0).all())
    assert bool((codes < torch.tensor(quantizer.code_sizes)).all())


@every_kind
def test_every_level_sends_a_gradient_to_the_encoder(kind: str) -> None:
    quantizer = trained(kind)

    def gradient(levels: int) -> Tensor:
        x = latent(102).requires_grad_()
        result: Quantized = quantizer(x, torch.full((BATCH, FRAMES), levels))
        residual = isinstance(quantizer, ResidualQuantizer)
        # Without books there is no commitment: there the gradient comes through the rounding.
        (result.loss if residual else result.latent.sum()).backward()
        assert x.grad is not None
        return x.grad

    for level in range(quantizer.levels):
        alone = gradient(level + 1) - gradient(level)
        assert bool((alone.abs().sum(-1) > 0).float().mean() > 0.9), f"level {level}"


@pytest.mark.parametrize(
    "kind",
    [kind for kind, config in CONFIGS.items() if list(build_quantizer(config, DIM).parameters())],
)
def test_every_parameter_learns(kind: str) -> None:
    quantizer, x = trained(kind).train(), latent(103)
    result: Quantized = quantizer(x)
    (result.loss + (result.latent - x).square().mean()).backward()
    for name, weight in quantizer.named_parameters():
        gradient = torch.zeros(()) if weight.grad is None else weight.grad
        assert gradient.abs().sum() > 0, name


@every_kind
def test_codes_of_dropped_levels_do_not_matter(kind: str) -> None:
    quantizer, x = trained(kind), latent(104)
    codes, levels = quantizer.encode(x), random_levels(quantizer, 2)
    cleared = codes.clone()
    end = 0
    for level, count in enumerate(quantizer.codes_per_level):
        cleared[..., end : end + count][levels <= level] = 0
        end += count
    assert torch.equal(quantizer.decode(cleared, levels), quantizer.decode(codes, levels))


@every_kind
def test_every_level_brings_the_latent_closer(kind: str) -> None:
    quantizer, x = trained(kind, steps=60), latent(105)
    codes = quantizer.encode(x)
    errors = []
    for level in range(quantizer.levels + 1):
        decoded = quantizer.decode(codes, torch.full((BATCH, FRAMES), level))
        errors.append((decoded - x).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


@every_kind
def test_a_lost_frame_is_zero_and_sends_no_gradient(kind: str) -> None:
    quantizer, x = trained(kind), latent(106).requires_grad_()
    levels = torch.full((BATCH, FRAMES), quantizer.levels)
    levels[:, ::3] = 0
    result: Quantized = quantizer(x, levels)
    (result.loss + result.latent.sum()).backward()
    assert x.grad is not None
    assert bool((result.latent[:, ::3] == 0).all())
    assert bool((x.grad[:, ::3] == 0).all())
    assert bool((x.grad[:, 1::3].abs().sum(-1) > 0).all())


@every_kind
def test_an_unquantized_item_passes_unchanged_and_unseen(kind: str) -> None:
    marked = torch.tensor([True, False, True])
    quantizer, x = trained(kind).train(), latent(107).requires_grad_()
    alone = copy.deepcopy(quantizer)
    torch.manual_seed(1)
    result: Quantized = quantizer(x, unquantized=marked)
    torch.manual_seed(1)
    rest: Quantized = alone(x[1:2])
    assert torch.equal(result.latent[marked], x[marked])
    assert torch.allclose(result.latent[1:2], rest.latent, atol=1e-6)
    assert torch.allclose(result.loss, rest.loss, atol=1e-6)
    for left, right in zip(quantizer.buffers(), alone.buffers(), strict=True):
        assert torch.allclose(left, right, atol=1e-6)
    gradient = torch.autograd.grad(result.latent.sum(), x)[0]
    assert bool((gradient[marked] == 1).all())


@every_kind
def test_evaluation_changes_nothing(kind: str) -> None:
    quantizer = trained(kind)
    before = copy.deepcopy(quantizer.state_dict())
    quantizer(latent(108))
    after = quantizer.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@every_kind
@pytest.mark.parametrize("steps", [2, 13])
def test_a_saved_state_goes_on_as_if_never_saved(kind: str, steps: int) -> None:
    quantizer = trained(kind, steps)
    file = io.BytesIO()
    torch.save(quantizer.state_dict(), file)
    file.seek(0)
    torch.manual_seed(7)
    loaded = build_quantizer(CONFIGS[kind], DIM)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert loaded.ready == quantizer.ready
    for one in (quantizer.train(), loaded.train()):
        torch.manual_seed(2)
        for step in range(200, 206):
            train_step(one, None, step)
    x = latent(109)
    assert torch.equal(loaded.encode(x), quantizer.encode(x))
    assert torch.equal(loaded.decode(loaded.encode(x)), quantizer.decode(quantizer.encode(x)))
    left, right = loaded.state_dict(), quantizer.state_dict()
    assert all(torch.equal(left[key], right[key]) for key in right)


@every_kind
def test_freezing_keeps_codes_and_latents(kind: str) -> None:
    quantizer, x = trained(kind), latent(110)
    codes = quantizer.encode(x)
    values = quantizer.decode(codes)
    quantizer.freeze()
    assert torch.equal(quantizer.encode(x), codes)
    assert torch.equal(quantizer(x).codes, codes)
    assert torch.allclose(quantizer.decode(codes), values, atol=1e-6)
    state = {key: value.clone() for key, value in quantizer.state_dict().items()}
    quantizer.train()(x)
    assert all(torch.equal(value, state[key]) for key, value in quantizer.state_dict().items())


@every_kind
def test_half_precision_around_it_does_not_reach_the_quantizer(kind: str) -> None:
    quantizer, x = trained(kind), latent(111)
    expected: Quantized = quantizer(x)
    with torch.autocast("cpu", torch.bfloat16):
        result: Quantized = quantizer(x)
        assert torch.equal(quantizer.encode(x), expected.codes)
        assert torch.equal(quantizer.decode(expected.codes), expected.latent)
    assert torch.equal(result.codes, expected.codes)
    assert torch.equal(result.latent, expected.latent)
    assert result.latent.dtype == torch.float32


def test_the_default_codec_has_six_levels_of_two_ten_bit_codes() -> None:
    quantizer = build_quantizer(GrvqConfig(), 128)
    assert quantizer.code_sizes == (1024,) * 12
    assert quantizer.codes_per_level == (2,) * 6
    assert quantizer.levels == 6


def test_masked_books_are_one_level() -> None:
    quantizer = build_quantizer(McrvqConfig(), 128)
    assert quantizer.codes_per_level == (3, 1, 1, 1, 1, 1)


def test_groups_that_do_not_divide_the_latent_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 128 does not split into 3"):
        build_quantizer(GrvqConfig(groups=3), 128)


def test_more_masked_books_than_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="width 2 has fewer channels than 3"):
        build_quantizer(McrvqConfig(), 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"kind": "vqbridge", "book_size": 4000}', "square number"),
        ('{"kind": "vqbridge", "book_size": 49}', "multiple of its patch 4"),
        ('{"kind": "rvq", "book_size": 512, "book": {"kind": "bridge"}}', "got 512 codes"),
        ('{"kind": "mcrvq", "books": 2}', "3 of 2 books"),
        ('{"kind": "grvq", "groups": 8, "levels": 9}', "72 codes"),
        ('{"kind": "fsq", "steps": [256, 257]}', "65792 codes"),
        ('{"kind": "fsq", "steps": [8, 1]}', "greater than or equal to 2"),
        ('{"kind": "fsq", "steps": []}', "at least 1 item"),
        ('{"kind": "ifsq", "steps": [7, 4]}', "must be odd"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CodecConfig.model_validate_json(f'{{"quantizer": {text}}}')


def test_levels_above_the_shape_leave_the_first_group_alone() -> None:
    config = GrvqConfig(groups=2, levels=3, book_size=16, shape_levels=1, adaptive=True)
    quantizer = build_quantizer(config, DIM).train()
    latent = torch.randn(4, 60, DIM, generator=torch.Generator().manual_seed(0))
    for _ in range(4):
        quantizer(latent)
    quantizer.eval()
    codes = quantizer.encode(latent)
    heard = [quantizer.decode(codes, torch.full(codes.shape[:2], level)) for level in (1, 2, 3)]
    first = DIM // 2
    assert torch.equal(heard[0][..., :first], heard[2][..., :first])
    errors = [(x - latent)[..., first:].square().mean() for x in heard]
    assert errors[2] < errors[1] < errors[0]


def test_the_shape_needs_a_group_of_its_own() -> None:
    with pytest.raises(ValidationError, match="got one group"):
        GrvqConfig(groups=1, shape_levels=2)
