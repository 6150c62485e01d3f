"""Books stay identical over the ranks of a distributed training."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch import multiprocessing as mp

from grove.codec.config import EmaBookConfig, GrvqConfig
from grove.codec.model.quantizers import Quantizer, build_quantizer
from grove.codec.model.quantizers.ranks import draw_rows

DIM, STEPS, WORLD = 6, 24, 2
BOOK = EmaBookConfig(kmeans_iterations=5)
CONFIG = GrvqConfig(groups=2, levels=2, book_size=16, book=BOOK, adaptive=True)


def batch(rank: int, step: int) -> Tensor:
    """Return a batch [B, T, D]; ranks differ in size and in where their data lies."""
    generator = torch.Generator().manual_seed(100 * rank + step)
    # A drift, so that codes die and restart on the way.
    return torch.randn(2, 20 + 30 * rank, DIM, generator=generator) + rank + 0.3 * step


def trained(quantizer: Quantizer, rank: int) -> None:
    for step in range(STEPS):
        # At first rank 0 has nothing for the books, later rank 1, at step 2 nobody.
        empty = step == 2 or (step in (0, 1) and rank == 0) or (step == 9 and rank == 1)
        quantizer(batch(rank, step), unquantized=torch.tensor([empty, empty]))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD
    )
    # Weights come equal to all ranks, as training gives them out; what is drawn later differs.
    torch.manual_seed(5)
    quantizer = build_quantizer(CONFIG, DIM).train()
    torch.manual_seed(rank)
    trained(quantizer, rank)
    torch.save(quantizer.state_dict(), f"{folder}/grown-{rank}.pt")
    quantizer.load_state_dict(torch.load(f"{folder}/start.pt", weights_only=True))
    quantizer(batch(rank, 50))
    torch.save(quantizer.state_dict(), f"{folder}/step-{rank}.pt")
    rows = torch.full((7, DIM), 10.0 + rank)
    drawn = {"both": draw_rows(rows, 6, (7, 7)), "one": draw_rows(rows[: 7 * rank], 6, (0, 7))}
    torch.save(drawn, f"{folder}/drawn-{rank}.pt")
    dist.destroy_process_group()


def load(folder: Path, name: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(folder / f"{name}.pt", weights_only=True)
    return state


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run both ranks once; the files they leave are what the tests look at."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.manual_seed(5)
    start = build_quantizer(CONFIG, DIM).train()
    for step in range(4):
        start(batch(0, 48 + step))
    torch.save(start.state_dict(), folder / "start.pt")
    mp.spawn(work, args=(str(folder),), nprocs=WORLD)
    return folder


def test_starts_updates_and_restarts_agree_on_all_ranks(folder: Path) -> None:
    first, second = load(folder, "grown-0"), load(folder, "grown-1")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    flags = [value for key, value in first.items() if key.endswith("extra_state")]
    assert len(flags) == 4
    assert all(bool(flag[0]) for flag in flags)
    # Level 0 starts at step 0 and learns at all steps but the one without rows.
    assert [int(flag[1]) for flag in flags] == [STEPS - 1] * 2 + [STEPS - 2] * 2


def test_new_codes_are_drawn_from_every_rank_that_has_rows(folder: Path) -> None:
    first, second = load(folder, "drawn-0"), load(folder, "drawn-1")
    assert torch.equal(first["both"], second["both"])
    assert first["both"][:, 0].tolist() == [10.0, 11.0] * 3
    assert torch.equal(first["one"], second["one"])
    assert first["one"][:, 0].tolist() == [11.0] * 6


def test_a_step_of_all_ranks_is_one_step_on_all_their_rows(folder: Path) -> None:
    alone = build_quantizer(CONFIG, DIM).train()
    alone.load_state_dict(load(folder, "start"))
    alone(torch.cat([batch(rank, 50).reshape(1, -1, DIM) for rank in range(WORLD)], dim=1))
    expected, stepped = alone.state_dict(), load(folder, "step-0")
    assert all(torch.allclose(stepped[key], expected[key], atol=1e-4) for key in expected)
