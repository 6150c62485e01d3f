"""How each kind of book and scalar comes to its vectors, and how it searches them."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from grove.codec.books import book_use, histograms
from grove.codec.config import (
    BridgeBookConfig,
    EmaBookConfig,
    FsqConfig,
    GrvqConfig,
    IfsqConfig,
    LookupBookConfig,
    McrvqConfig,
    QuantizerConfig,
    RvqConfig,
    SimVqConfig,
    VqBridgeConfig,
    VqConfig,
)
from grove.codec.model.quantizers import build_quantizer
from grove.codec.model.quantizers.book import Book, FitRows
from grove.codec.model.quantizers.ema import EmaBook, kmeans
from grove.codec.model.quantizers.lookup import LookupBook
from grove.codec.model.quantizers.residual import ResidualQuantizer

DIM = 6


def rows(seed: int, count: int = 200) -> Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed))


def all_of(latent: Tensor, *, may_start: bool = True) -> FitRows:
    return FitRows(None, (latent.shape[0],), may_start)


def started_book(config: EmaBookConfig, size: int = 8) -> EmaBook:
    torch.manual_seed(0)
    book, first = EmaBook(config, size, DIM), rows(0)
    book.start(first, all_of(first))
    return book


def residual(config: QuantizerConfig, dim: int = DIM) -> ResidualQuantizer:
    torch.manual_seed(0)
    quantizer = build_quantizer(config, dim)
    assert isinstance(quantizer, ResidualQuantizer)
    return quantizer


def books_of(quantizer: ResidualQuantizer) -> list[Book]:
    return [book for level in quantizer.all_levels() for book in level.all_books()]


def test_kmeans_finds_separate_clusters() -> None:
    torch.manual_seed(1)
    centres = torch.eye(5, DIM) * 10
    data = (centres.unsqueeze(1) + 0.1 * torch.randn(5, 40, DIM)).reshape(-1, DIM)
    centroids, counts = kmeans(data, 20, 30, (200,))
    distances = (centres.unsqueeze(1) - centroids).norm(dim=-1)
    assert bool((distances.min(dim=1).values < 0.2).all())
    assert int(counts.sum()) == 200


def test_kmeans_ends_at_a_fixed_point() -> None:
    torch.manual_seed(1)
    data = rows(1)
    centroids, counts = kmeans(data, 4, 200, (200,))
    nearest = (data.unsqueeze(1) - centroids).norm(dim=-1).argmin(1)
    for code in range(4):
        mine = data[nearest == code]
        assert torch.allclose(mine.mean(0), centroids[code], atol=1e-5)
        assert len(mine) == int(counts[code])


def test_fewer_rows_than_codes_still_start_a_book() -> None:
    torch.manual_seed(0)
    book, few = EmaBook(EmaBookConfig(), 16, DIM), rows(2, count=5)
    book.start(few, all_of(few))
    step = book(few)
    assert torch.allclose(step.values, few, atol=1e-5)
    assert bool(book.table().isfinite().all())


def test_an_ema_step_is_the_written_formula() -> None:
    book = started_book(EmaBookConfig(decay=0.9, check_every_steps=100))
    usage, sums, data = book.usage.clone(), book.sums.clone(), rows(3)
    codes = book.encode(data)
    book.learn(data, codes, all_of(data))
    for code in range(8):
        mine = data[codes == code]
        expected_usage = 0.9 * usage[code] + 0.1 * len(mine)
        expected_sum = 0.9 * sums[code] + 0.1 * mine.sum(0)
        assert torch.allclose(book.usage[code], expected_usage, atol=1e-5)
        assert torch.allclose(book.table()[code], expected_sum / expected_usage, atol=1e-5)


def test_a_restarted_code_survives_the_next_updates() -> None:
    book = started_book(EmaBookConfig(check_every_steps=5))
    # Code 3 lies where no data is, so that it dies and then stays unused.
    book.usage[3] = 1e-3
    book.sums[3] = 1e-3 * 50.0
    data = rows(4)
    for _ in range(5):
        book.learn(data, book.encode(data), all_of(data))
    restarted, usage = book.table()[3].clone(), book.usage[3].clone()
    assert (restarted - data).norm(dim=-1).min() < 1e-5
    assert torch.allclose(usage, torch.tensor(200 / 8), rtol=0.2)
    elsewhere = torch.full((200,), 1)
    for _ in range(4):
        book.learn(data, elsewhere, all_of(data))
    assert torch.allclose(book.table()[3], restarted, atol=1e-5)
    assert torch.allclose(book.usage[3], usage * 0.99**4)


def test_dead_codes_wait_for_the_check() -> None:
    book = started_book(EmaBookConfig(check_every_steps=5))
    book.usage[3] = 1e-3
    book.sums[3] = 1e-3 * 50.0
    data = rows(4)
    for _ in range(4):
        book.learn(data, book.encode(data), all_of(data))
        assert torch.allclose(book.table()[3], torch.full((DIM,), 50.0), atol=1e-3)
    book.learn(data, book.encode(data), all_of(data))
    assert bool(book.table()[3].abs().max() < 10)


def test_codes_above_the_threshold_are_left_alone() -> None:
    book = started_book(EmaBookConfig(dead_ratio=0.1, check_every_steps=1))
    book.usage.fill_(1.0)
    book.sums.copy_(rows(5, count=8))
    book.usage[0] *= 0.2
    book.sums[0] *= 0.2
    before, nothing = book.table().clone(), torch.zeros(1, DIM)
    book.learn(nothing, torch.tensor([7]), all_of(nothing))
    assert torch.allclose(book.table()[:7], before[:7], atol=1e-5)


def test_each_level_starts_one_batch_after_the_one_before() -> None:
    quantizer = residual(RvqConfig(levels=3, book_size=8)).train()
    ready = []
    for seed in range(4):
        quantizer(rows(seed).unsqueeze(0))
        ready.append([level.ready for level in quantizer.all_levels()])
    assert ready == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
        [True, True, True],
    ]
    assert quantizer.ready


def test_a_level_that_has_not_started_adds_and_costs_nothing() -> None:
    quantizer = residual(RvqConfig(levels=3, book_size=8)).train()
    quantizer(rows(0).unsqueeze(0))
    quantizer.eval()
    x = rows(1).unsqueeze(0)
    result = quantizer(x)
    first = quantizer.decode(result.codes, torch.ones(1, 200, dtype=torch.int64))
    assert torch.equal(result.latent, first)
    assert torch.allclose(result.loss, (x - first).square().mean() / 3)


def test_books_do_not_start_on_unquantized_items_alone() -> None:
    quantizer = residual(GrvqConfig(groups=2, levels=2, book_size=8)).train()
    x = rows(0).reshape(2, 100, DIM)
    result = quantizer(x, unquantized=torch.tensor([True, True]))
    assert torch.equal(result.latent, x)
    assert result.loss == 0
    assert not any(book.ready for book in books_of(quantizer))


def test_books_learn_from_the_frames_that_drop_their_level() -> None:
    config = RvqConfig(levels=2, book_size=8)
    dropped, kept = residual(config).train(), residual(config).train()
    levels = torch.zeros(1, 200, dtype=torch.int64)
    for quantizer, given in ((dropped, levels), (kept, None)):
        torch.manual_seed(3)
        for seed in range(8):
            quantizer(rows(seed).unsqueeze(0), given)
    for left, right in zip(dropped.buffers(), kept.buffers(), strict=True):
        assert torch.equal(left, right)


def test_the_loss_is_the_commitment_per_level_over_the_frames_that_use_it() -> None:
    quantizer = residual(RvqConfig(levels=2, book_size=8)).train()
    for seed in range(4):
        quantizer(rows(seed).unsqueeze(0))
    quantizer.eval()
    x = rows(9, count=4).unsqueeze(0)
    levels = torch.tensor([[2, 1, 1, 0]])
    codes = quantizer.encode(x)
    after = [quantizer.decode(codes, torch.full((1, 4), depth)) - x for depth in (1, 2)]
    per_frame = [error.square().mean(-1)[0] for error in after]
    expected = (per_frame[0][:3].mean() + per_frame[1][:1].mean()) / 2
    assert torch.allclose(quantizer(x, levels).loss, expected)


@pytest.mark.parametrize(
    "config", [VqConfig(book_size=256), GrvqConfig(groups=2, levels=2, book_size=256)]
)
def test_restarts_bring_nearly_all_codes_into_use(config: QuantizerConfig) -> None:
    quantizer = residual(config).train()
    # Fewer rows a batch than codes, and a centre that holds most of them.
    for seed in range(150):
        quantizer(rows(seed, count=128).pow(3).unsqueeze(0))
    corpus = torch.stack([rows(seed, count=1000).pow(3) for seed in range(1000, 1010)])
    codes = quantizer.eval().encode(corpus).flatten(0, 1).numpy()
    usage = book_use(histograms(codes, quantizer.code_sizes))
    assert all(book.used_share >= 0.95 for book in usage)


def test_every_simvq_code_moves_at_every_step() -> None:
    torch.manual_seed(0)
    quantizer = residual(SimVqConfig(book_size=64)).train()
    (book,) = books_of(quantizer)
    before = book.table().detach().clone()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    quantizer(rows(0, count=3).unsqueeze(0)).loss.backward()
    optimizer.step()
    assert bool(((book.table() - before).abs().sum(-1) > 0).all())


def test_vqbridge_starts_as_its_own_table_and_then_moves_unused_codes() -> None:
    config = VqBridgeConfig(book_size=64, book=BridgeBookConfig(width=16, patch=2))
    quantizer = residual(config).train()
    (book,) = books_of(quantizer)
    before = book.table().detach().clone()
    assert torch.equal(before, dict(book.named_parameters())["seeds"])
    x = rows(0, count=3).unsqueeze(0)
    used = quantizer.encode(x).unique()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.1)
    quantizer(x).loss.backward()
    optimizer.step()
    moved = (book.table() - before).abs().sum(-1) > 0
    assert int(moved.sum()) > 4 * len(used)


def test_vqbridge_patches_are_squares_of_the_code_grid() -> None:
    config = VqBridgeConfig(book_size=36, book=BridgeBookConfig(width=8, patch=3))
    (book,) = books_of(residual(config))
    grid = torch.arange(36.0).unsqueeze(-1).expand(36, DIM)
    patches = book._to_patches(grid)  # type: ignore[operator]
    assert patches[1, ::DIM].tolist() == [3, 4, 5, 9, 10, 11, 15, 16, 17]
    assert torch.equal(book._from_patches(patches), grid)  # type: ignore[operator]


def test_a_lookup_book_takes_the_nearest_direction() -> None:
    torch.manual_seed(0)
    book, x = LookupBook(LookupBookConfig(dim=3), 32, DIM), rows(0)
    cosine = functional.cosine_similarity(
        book.project_in(x).unsqueeze(1), book.vectors.unsqueeze(0), dim=-1
    )
    assert torch.equal(book.encode(x), cosine.argmax(-1))


def test_masked_books_see_only_their_slice() -> None:
    quantizer = residual(McrvqConfig(masked_books=3, books=5, book_size=16), dim=7).train()
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        quantizer(torch.randn(1, 200, 7, generator=generator))
    quantizer.eval()
    x = torch.randn(1, 100, 7, generator=generator)
    codes = quantizer.encode(x)
    for book, (start, end) in enumerate(((0, 2), (2, 4), (4, 7))):
        others = x + 10 * torch.randn(1, 100, 7, generator=generator)
        others[..., start:end] = x[..., start:end]
        assert torch.equal(quantizer.encode(others)[..., book], codes[..., book])
        assert not torch.equal(quantizer.encode(others)[..., 3], codes[..., 3])


def test_masked_encode_is_the_published_forward() -> None:
    quantizer = residual(McrvqConfig(masked_books=3, books=5, book_size=16)).train()
    for seed in range(8):
        quantizer(rows(seed).unsqueeze(0))
    quantizer.eval()
    x = rows(20)
    tables = [book.table() for book in books_of(quantizer)]
    codes, total = [], torch.zeros_like(x)
    for index, table in enumerate(tables):
        mask = torch.zeros(DIM)
        mask[2 * index : 2 * index + 2] = 1
        seen = x * mask if index < 3 else x - total
        codes.append((seen.unsqueeze(1) - table).square().sum(-1).argmin(-1))
        total = total + table[codes[-1]]
    assert torch.equal(quantizer.encode(x.unsqueeze(0))[0], torch.stack(codes, dim=-1))
    assert torch.allclose(quantizer(x.unsqueeze(0)).latent[0], total, atol=1e-6)


def test_fsq_reaches_every_step_and_no_more() -> None:
    quantizer = build_quantizer(FsqConfig(steps=(8, 5, 4, 2)), 4)
    sweep = torch.linspace(-30, 30, 4001).reshape(1, -1, 1).expand(1, 4001, 4)
    codes = quantizer.encode(sweep)
    corners = [int(codes[0, 0, 0]), int(codes[0, -1, 0])]
    assert corners == [0, 8 * 5 * 4 * 2 - 1]
    decoded = quantizer.decode(codes)[0]
    assert [decoded[:, index].unique().numel() for index in range(4)] == [8, 5, 4, 2]


def test_ifsq_is_the_written_formula() -> None:
    quantizer = build_quantizer(IfsqConfig(steps=(7, 5)), 2)
    x = rows(0, count=300)[:, :2]
    half = torch.tensor([3.0, 2.0])
    digits = torch.round((2 * torch.sigmoid(1.6 * x) - 1) * half)
    assert torch.allclose(quantizer(x.unsqueeze(0)).latent[0], digits / half)
    expected = (digits[:, 0] + 3 + 7 * (digits[:, 1] + 2)).long()
    assert torch.equal(quantizer.encode(x.unsqueeze(0))[0, :, 0], expected)


def test_ifsq_uses_its_inner_steps_more_evenly_than_fsq() -> None:
    x = torch.randn(1, 20_000, 1, generator=torch.Generator().manual_seed(0))
    spread = []
    for config in (IfsqConfig(steps=(7,)), FsqConfig(steps=(7,))):
        counts = build_quantizer(config, 1).encode(x).flatten().bincount()[1:-1]
        spread.append(counts.max() / counts.min())
    assert spread[0] < 1.1
    assert spread[1] > 1.2
