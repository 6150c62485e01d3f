"""What survives of a run in the repository begins the next one."""

from pathlib import Path

import torch
from training_cases import ToneBatches, tiny_recipe

from grove.codec.config import McrvqConfig
from grove.codec.model.codec import CodecNetwork
from grove.training.checkpoint import load_checkpoint, save_checkpoint
from grove.training.config import load_recipe
from grove.training.ranks import Ranks
from grove.training.release.warm_start import main
from grove.training.trainer import Trainer

KEPT = Path(__file__).parent.parent.parent.parent / "training" / "warm-start"
ALONE = Ranks(0, 1, torch.device("cpu"))


def test_a_halved_checkpoint_begins_a_run_close_to_its_source(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    source = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE)
    source.run(8, lambda _report: None)
    state = source.average.model_state(source.codec)
    content = {"step": 8, "recipe": recipe.model_dump_json(), "codec": state}
    save_checkpoint(tmp_path / "best.pt", content)
    main(str(tmp_path / "best.pt"), str(tmp_path / "half.pt"))
    begun = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE)
    begun.warm_start(load_checkpoint(tmp_path / "half.pt")["codec"])
    assert begun.step == 0
    assert begun.codec.quantizer.ready
    for name, value in begun.codec.named_parameters():
        assert value.dtype == torch.float32
        assert torch.allclose(value, state[name], atol=1e-3)


def test_books_of_another_layout_start_anew(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    source = Trainer(recipe, ToneBatches(recipe), tmp_path, ALONE)
    source.run(8, lambda _report: None)
    weights = source.codec.state_dict()
    masked = recipe.codec.model_copy(
        update={"quantizer": McrvqConfig(masked_books=3, books=4, book_size=16)}
    )
    other = recipe.model_copy(update={"codec": masked})
    begun = Trainer(other, ToneBatches(other), tmp_path, ALONE)
    begun.warm_start(weights)
    assert not begun.codec.quantizer.ready
    for name, value in begun.codec.encoder.named_parameters():
        assert torch.equal(value, weights[f"encoder.{name}"])
    assert torch.equal(
        begun.codec.decoder.enter.linear.weight, weights["decoder.enter.linear.weight"]
    )


def test_the_kept_weights_begin_the_run_of_the_recipe() -> None:
    (path,) = KEPT.glob("*.pt")
    recipe = load_recipe(KEPT.parent / "recipes" / f"{path.stem}.yaml")
    codec = CodecNetwork(recipe.codec)
    codec.load_state_dict(load_checkpoint(path)["codec"])
    assert codec.quantizer.ready
