"""`grove export`: a checkpoint becomes a bundle that proves itself before it is kept."""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from grove.codec.arrays import F32, I64, U16
from grove.codec.atomic import atomic_folder
from grove.codec.bundle import (
    CARD,
    DECODER,
    ENCODER,
    GOLDEN,
    MANIFEST,
    Bundle,
    Cost,
    FileRecord,
    Manifest,
    load_bundle,
    model_sha256,
)
from grove.codec.channels import down_mix
from grove.codec.config import CodecSpec
from grove.codec.errors import BundleError, ConfigError
from grove.codec.model.codec import CodecNetwork
from grove.codec.model.cost import count_cost
from grove.codec.model.quantizers.book import TableBook, half_norms
from grove.codec.resample import resample
from grove.codec.runtime import Codec
from grove.codec.sound.source import open_audio
from grove.codec.stream import decode, encode
from grove.training.checkpoint import load_checkpoint
from grove.training.config import Recipe
from grove.training.release.card import model_card
from grove.training.release.graphs import Graphs, build_graphs
from grove.training.release.sources import list_sources

_BUNDLE_LIMIT_BYTES = 16 << 20
_LEAST_EQUAL_CODES = 0.9999
_PCM_TOLERANCE = 1e-4
_GOLDEN_SECONDS = 2.0


class ExportOptions(NamedTuple):
    """What the command line says."""

    checkpoint: Path
    out: Path
    name: str
    version: str
    licence: str
    description: str
    clips: tuple[Path, ...]
    """Speech on which the bundle proves itself; the first gives the golden vectors."""
    compatible: tuple[str, ...] = ()
    data: Path | None = None
    """The manifest that was trained on; the card names its sources and licences."""


class Proof(NamedTuple):
    """How far the graphs agree with torch."""

    frames: int
    equal_codes: float
    pcm_error: float


def export(options: ExportOptions) -> Proof:
    """Write a bundle to `options.out`, or nothing."""
    if options.out.exists():
        raise BundleError(f"{options.out} exists", hint="a release is never overwritten")
    content = load_checkpoint(options.checkpoint)
    recipe = Recipe.model_validate_json(content["recipe"])
    codec = frozen_codec(recipe, content["codec"])
    graphs = build_graphs(codec)
    with atomic_folder(options.out) as partial:
        manifest = _manifest(options, recipe, codec, graphs, int(content["step"]))
        bundle = _write(partial, options, recipe, graphs, manifest)
        proof = prove(
            bundle, codec, [read_clip(path, codec.config.sample_rate_hz) for path in options.clips]
        )
        size = sum(path.stat().st_size for path in partial.iterdir())
        if size > _BUNDLE_LIMIT_BYTES:
            raise BundleError(
                f"the bundle has {size} bytes, expected at most {_BUNDLE_LIMIT_BYTES}"
            )
    return proof


def frozen_codec(recipe: Recipe, weights: dict[str, Tensor]) -> CodecNetwork:
    """Return the codec as it will be served: books folded, matrices rounded to float16.

    The rounded model is the model: tokens are defined by what the bundle holds.
    """
    codec = CodecNetwork(recipe.codec)
    codec.load_state_dict(weights)
    codec.eval()
    if not codec.quantizer.ready:
        raise ConfigError("the checkpoint's books never started; train past unquantized_steps")
    codec.quantizer.freeze()
    with torch.no_grad():
        for tensor in codec.state_dict().values():
            if isinstance(tensor, Tensor) and tensor.ndim >= 2 and tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
        for book in codec.quantizer.modules():
            if isinstance(book, TableBook):
                book.half_norms.copy_(half_norms(book.search_table.T))
    return codec.requires_grad_(False)


def read_clip(path: Path, sample_rate_hz: int) -> F32:
    """Read a whole clip, mono, at the codec's rate."""
    with open_audio(path) as source:
        pcm = np.concatenate([down_mix(block) for block in source])
        return resample(pcm, source.sample_rate_hz, sample_rate_hz)


def _write(
    folder: Path, options: ExportOptions, recipe: Recipe, graphs: Graphs, manifest: Manifest
) -> Bundle:
    """Write graphs and manifest, then what only the running bundle can give: golden vectors."""
    contents = {ENCODER: graphs.encoder, DECODER: graphs.decoder}
    _write_files(folder, manifest, contents)
    clip = read_clip(options.clips[0], recipe.codec.sample_rate_hz)
    golden = golden_vectors(Codec(load_bundle(folder)), clip)
    contents[GOLDEN] = golden
    _write_files(folder, manifest, contents)
    bundle = load_bundle(folder)
    sources = list_sources(options.data, recipe.data.shards) if options.data else ()
    (folder / CARD).write_text(model_card(bundle.manifest, recipe, sources), encoding="utf-8")
    return bundle


def _write_files(folder: Path, manifest: Manifest, contents: dict[str, bytes]) -> None:
    records = {}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        records[name] = FileRecord(sha256=digest, size_bytes=len(content))
    text = manifest.model_copy(update={"files": records}).model_dump_json(indent=1)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _manifest(
    options: ExportOptions, recipe: Recipe, codec: CodecNetwork, graphs: Graphs, step: int
) -> Manifest:
    spec = CodecSpec(
        name=options.name,
        version=options.version,
        model_sha256=model_sha256(graphs.encoder, graphs.decoder),
        sample_rate_hz=recipe.codec.sample_rate_hz,
        hop_samples=codec.hop,
        delay_samples=codec.delay_samples,
        code_sizes=codec.quantizer.code_sizes,
        codes_per_level=codec.quantizer.codes_per_level,
    )
    return Manifest(
        schema_version=1,
        spec=spec,
        licence=options.licence,
        description=options.description,
        encoder_state=codec.encoder.state_size,
        decoder_state=codec.decoder.state_size,
        cost=_cost(codec),
        compatible=options.compatible,
        training={
            "recipe": recipe.name,
            "steps": step,
            "stages": ", ".join(stage.name for stage in recipe.stages),
            "audio_hours_seen": round(step * recipe.batch * recipe.crop_seconds / 3600, 1),
        },
        files={},
    )


def _cost(codec: CodecNetwork) -> Cost:
    books = sum(
        book.values.numel() for book in codec.quantizer.modules() if isinstance(book, TableBook)
    )
    counted = count_cost(codec)
    return Cost(
        encoder_parameters=sum(p.numel() for p in codec.encoder.parameters()) + books,
        decoder_parameters=sum(p.numel() for p in codec.decoder.parameters()) + books,
        encoder_macs_per_second=counted.encoder_macs_per_second,
        decoder_macs_per_second=counted.decoder_macs_per_second,
    )


def golden_vectors(runtime: Codec, clip: F32) -> bytes:
    """Return an .npz of pcm (int16), its codes, and what each level decodes to."""
    samples = round(_GOLDEN_SECONDS * runtime.spec.sample_rate_hz)
    loudest = int(np.argmax(np.convolve(np.abs(clip), np.ones(samples), "valid")))
    pcm = np.clip(np.round(clip[loudest : loudest + samples] * 32767), -32768, 32767)
    codes = encode(runtime, (pcm / 32768).astype(np.float32))
    arrays: dict[str, Any] = {"pcm": pcm.astype(np.int16), "codes": codes}
    for level in sorted({1, max(1, runtime.spec.levels // 2), runtime.spec.levels}):
        arrays[f"decoded_{level}"] = decode(runtime, codes, len(pcm), level)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def prove(bundle: Bundle, codec: CodecNetwork, clips: list[F32]) -> Proof:
    """Hold the bundle against torch, and its single steps against its whole-file pass."""
    runtime = Codec(bundle)
    frames, equal, total, worst = 0, 0, 0, 0.0
    for clip in clips:
        padded = codec.pad(torch.from_numpy(clip)[None])
        codes, expected_pcm = _torch_pass(codec, padded)
        state = runtime.encoder_state(1)
        found, _ = runtime.encode_step(padded.numpy(), state)
        _prove_steps(runtime, padded.numpy(), found)
        equal += int((found == codes).sum())
        total += codes.size
        frames += codes.shape[1]
        levels = np.full(codes.shape[:2], runtime.spec.levels)
        pcm, _ = runtime.decode_step(codes.astype(np.uint16), levels, runtime.decoder_state(1))
        worst = max(worst, float(np.abs(pcm - expected_pcm).max()))
    proof = Proof(frames, equal / total, worst)
    if proof.equal_codes < _LEAST_EQUAL_CODES:
        raise BundleError(f"{proof.equal_codes:.6f} of the codes equal torch's, expected 0.9999")
    if proof.pcm_error > _PCM_TOLERANCE:
        raise BundleError(f"decoded pcm is off by {proof.pcm_error:g}, expected at most 1e-4")
    return proof


def _torch_pass(codec: CodecNetwork, padded: Tensor) -> tuple[I64, F32]:
    with torch.no_grad():
        zeros = padded.new_zeros(1, codec.encoder.state_size)
        codes = codec.quantizer.encode(codec.encoder(padded, zeros)[0])
        levels = torch.full(codes.shape[:2], codec.quantizer.levels)
        latent = codec.quantizer.decode(codes, levels)
        pcm, _ = codec.decoder(latent, levels, padded.new_zeros(1, codec.decoder.state_size))
    return codes.numpy(), pcm.numpy()


def _prove_steps(runtime: Codec, padded: F32, whole: U16) -> None:
    hop, state = runtime.spec.hop_samples, runtime.encoder_state(1)
    for frame in range(whole.shape[1]):
        step, state = runtime.encode_step(padded[:, frame * hop : (frame + 1) * hop], state)
        if not np.array_equal(step[0, 0], whole[0, frame]):
            raise BundleError(f"frame {frame} has other codes alone than in the whole file")
