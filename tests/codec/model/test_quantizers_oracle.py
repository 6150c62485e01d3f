"""Our quantizers beside vector-quantize-pytorch, where both define the same thing."""

import pytest
import torch
from torch import Tensor
from vector_quantize_pytorch import FSQ, GroupedResidualVQ, ResidualVQ

from grove.codec.config import FsqConfig, GrvqConfig, RvqConfig, SimVqConfig
from grove.codec.model.quantizers import Quantizer, build_quantizer
from grove.codec.model.quantizers.residual import ResidualQuantizer

DIM, SIZE, LEVELS = 16, 64, 4


def latent(seed: int, frames: int = 500) -> Tensor:
    return torch.randn(2, frames, DIM, generator=torch.Generator().manual_seed(seed))


def trained(quantizer: Quantizer) -> ResidualQuantizer:
    assert isinstance(quantizer, ResidualQuantizer)
    quantizer.train()
    for seed in range(10):
        quantizer(latent(seed))
    return quantizer.eval()


def tables_of(quantizer: ResidualQuantizer) -> list[list[Tensor]]:
    """Return the tables of our books by level and group."""
    levels = quantizer.all_levels()
    return [[book.table() for book in level.all_books()] for level in levels]


def copy_tables(tables: list[Tensor], oracle: ResidualVQ) -> None:
    for table, layer in zip(tables, oracle.layers, strict=True):
        layer._codebook.embed.data.copy_(table.unsqueeze(0))


def test_rvq_gives_the_codes_and_latents_of_the_oracle() -> None:
    torch.manual_seed(0)
    ours = trained(build_quantizer(RvqConfig(levels=LEVELS, book_size=SIZE), DIM))
    oracle = ResidualVQ(dim=DIM, num_quantizers=LEVELS, codebook_size=SIZE).eval()
    copy_tables([tables[0] for tables in tables_of(ours)], oracle)
    x = latent(100)
    quantized, codes, _ = oracle(x)
    result = ours(x)
    assert torch.equal(result.codes, codes)
    assert torch.allclose(result.latent, quantized, atol=1e-5)


@pytest.mark.parametrize("groups", [2, 4])
def test_grvq_gives_the_codes_and_latents_of_the_oracle(groups: int) -> None:
    torch.manual_seed(0)
    config = GrvqConfig(groups=groups, levels=LEVELS, book_size=SIZE)
    ours = trained(build_quantizer(config, DIM))
    oracle = GroupedResidualVQ(
        dim=DIM, groups=groups, num_quantizers=LEVELS, codebook_size=SIZE
    ).eval()
    tables = tables_of(ours)
    for group in range(groups):
        copy_tables([level[group] for level in tables], oracle.rvqs[group])
    x = latent(100)
    quantized, codes, _ = oracle(x)
    result = ours(x)
    # The oracle's codes are [G, B, T, L]; ours interleave groups within levels.
    assert torch.equal(result.codes, codes.permute(1, 2, 3, 0).flatten(2))
    assert torch.allclose(result.latent, quantized, atol=1e-5)


def test_fewer_levels_give_the_latent_of_a_shorter_oracle() -> None:
    torch.manual_seed(0)
    ours = trained(build_quantizer(RvqConfig(levels=LEVELS, book_size=SIZE), DIM))
    oracle = ResidualVQ(dim=DIM, num_quantizers=2, codebook_size=SIZE).eval()
    copy_tables([tables[0] for tables in tables_of(ours)[:2]], oracle)
    x = latent(100)
    expected, _, _ = oracle(x)
    levels = torch.full(x.shape[:2], 2)
    assert torch.allclose(ours(x, levels).latent, expected, atol=1e-5)


def test_simvq_search_is_that_of_plain_distances() -> None:
    torch.manual_seed(0)
    ours = build_quantizer(SimVqConfig(book_size=SIZE), DIM).eval()
    assert isinstance(ours, ResidualQuantizer)
    ((table,),) = tables_of(ours)
    x = latent(100)
    distances = (x.double().unsqueeze(2) - table.double()).square().sum(-1)
    assert torch.equal(ours.encode(x)[..., 0], distances.argmin(-1))


@pytest.mark.parametrize("steps", [(8, 5, 5, 5), (7, 6), (3, 4, 9)])
def test_fsq_gives_the_codes_and_latents_of_the_oracle(steps: tuple[int, ...]) -> None:
    width = len(steps)
    ours, oracle = build_quantizer(FsqConfig(steps=steps), width), FSQ(steps).eval()
    x = 2 * latent(100)[..., :width]
    quantized, codes = oracle(x)
    result = ours(x)
    assert torch.equal(result.codes[..., 0], codes.long())
    assert torch.allclose(result.latent, quantized)
    every_code = torch.arange(ours.code_sizes[0]).reshape(1, -1, 1)
    assert torch.allclose(ours.decode(every_code)[0], oracle.implicit_codebook)
