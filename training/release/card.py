"""The model card that travels with a bundle."""

from collections.abc import Sequence
from pathlib import Path

from grove.codec.bundle import CARD, Manifest
from grove.codec.errors import BundleError
from grove.training.config import Recipe
from grove.training.evaluation.report import markdown_table, sections
from grove.training.evaluation.results import Evaluation
from grove.training.release.sources import Source, sources_section

EVALUATION_MARK = "<!-- evaluation -->"
_NEXT_SECTION = "\n## Files\n"


def model_card(manifest: Manifest, recipe: Recipe, sources: Sequence[Source] = ()) -> str:
    """Return the card's Markdown; the evaluation table is put in at its mark later."""
    spec, cost = manifest.spec, manifest.cost
    rates = ", ".join(f"{spec.bitrate_bps(level) / 1000:g}" for level in range(1, spec.levels + 1))
    encoder_mmac, decoder_mmac = (
        macs / 1e6 for macs in (cost.encoder_macs_per_second, cost.decoder_macs_per_second)
    )
    costs = f"{encoder_mmac:.1f} + {decoder_mmac:.1f} = {encoder_mmac + decoder_mmac:.1f}"
    parameters = f"{cost.encoder_parameters / 1e6:.2f} + {cost.decoder_parameters / 1e6:.2f}"
    batch = f"{recipe.batch} crops of {recipe.crop_seconds:g} s"
    training = "\n".join(
        f"- {key.replace('_', ' ')}: {value}" for key, value in manifest.training.items()
    )
    audio = sources_section(sources, recipe.data.validation_share) + "\n" if sources else ""
    return f"""# {spec.name} {spec.version}

{manifest.description}

| | |
|---|---|
| sample rate | {spec.sample_rate_hz} Hz, mono |
| frames | {spec.frame_rate_hz:g} a second, {spec.hop_samples} samples each |
| levels | {spec.levels}: {rates} kbps, nested in one stream |
| codes a frame | {len(spec.code_sizes)}, sizes {min(spec.code_sizes)} to {max(spec.code_sizes)} |
| algorithmic delay | {spec.latency_ms:g} ms ({spec.hop_samples} + {spec.delay_samples} samples) |
| cost | {costs} million multiply-adds per second of audio |
| parameters | {parameters} million, books in both |
| model sha256 | `{spec.model_sha256}` |
| licence | {manifest.licence} |

## Training

{training}
- seed: {recipe.seed}, batch: {batch}, precision: {recipe.precision}

{audio}## Evaluation

{EVALUATION_MARK}

## Files

`manifest.json` names every file and its sha256; `golden.npz` holds a clip (int16 `pcm`), its
`codes`, and what they decode to at three levels (`decoded_N`); tests compare the graphs with it.
"""


def put_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Put an evaluation into the card of a bundle, in place of the one before."""
    card = (folder / CARD).read_text(encoding="utf-8")
    before, mark, rest = card.partition(EVALUATION_MARK)
    _, heading, after = rest.partition(_NEXT_SECTION)
    if not mark or not heading:
        raise BundleError(f"{folder / CARD} has no place for an evaluation ({EVALUATION_MARK})")
    text = evaluation_text(evaluation, folder.name)
    (folder / CARD).write_text(f"{before}{mark}\n\n{text}\n{heading}{after}", encoding="utf-8")


def evaluation_text(evaluation: Evaluation, model: str) -> str:
    """Return all tables, and the command that makes them."""
    parts = [
        f"Made by `grove evaluate {evaluation.clips_folder} report --model {model}` on "
        f"{evaluation.clips} clips that no model has been trained or tuned on."
    ]
    for section in sections(evaluation):
        parts += [f"### {section.title}", section.note, markdown_table(section)]
    return "\n\n".join(part for part in parts if part)
