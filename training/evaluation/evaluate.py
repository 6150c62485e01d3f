"""Evaluate a codec beside real ones: every clip through every condition, scored alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from grove.codec.arrays import U16
from grove.codec.books import BookUse, book_use, histograms
from grove.codec.bundle import load_bundle
from grove.codec.config import CodecSpec, Frozen
from grove.codec.errors import ConfigError
from grove.codec.runtime import Codec
from grove.codec.stream import FrameCodec
from grove.training.evaluation.clips import Clip, find_clips
from grove.training.evaluation.file_coding import decode_clip, encode_clip
from grove.training.evaluation.jobs import DecodedJob, Job, run_jobs
from grove.training.evaluation.metrics import METRICS_VERSION
from grove.training.evaluation.packet_loss import Concealment, losses_of
from grove.training.evaluation.peer_scores import PeerCache, jobs_of
from grove.training.evaluation.peers import DEFAULT_PEERS, Peer, missing_programs
from grove.training.evaluation.plots import Exemplar
from grove.training.evaluation.report import write_report
from grove.training.evaluation.results import AbsentPeer, Condition, Evaluation, summarise

DEFAULT_LOSS_RATES = (0.0, 0.05, 0.1, 0.2)
CONCEALMENTS: tuple[Concealment, ...] = ("zero-level", "repeat", "silence")


class Settings(Frozen):
    """What to run; no levels means all of the codec's."""

    levels: tuple[int, ...] = ()
    loss_rates: tuple[float, ...] = DEFAULT_LOSS_RATES
    concealments: tuple[Concealment, ...] = CONCEALMENTS
    peers: tuple[Peer, ...] = DEFAULT_PEERS
    exemplars_per_kind: int = Field(2, ge=0)
    workers: int = Field(1, ge=1)
    seed: int = 0


def run_evaluation(
    bundle: str | Path | None,
    clips_dir: Path,
    out_dir: Path,
    *,
    levels: Sequence[int] = (),
    loss_rates: Sequence[float] = DEFAULT_LOSS_RATES,
    peers: Sequence[Peer] = DEFAULT_PEERS,
    limit: int | None = None,
    workers: int = 1,
) -> Evaluation:
    """Evaluate a bundle (None: the peers alone) and write the report into `out_dir`."""
    codec = None if bundle is None else Codec(load_bundle(bundle))
    settings = Settings(
        levels=tuple(levels), loss_rates=tuple(loss_rates), peers=tuple(peers), workers=workers
    )
    clips = find_clips(clips_dir, limit)
    evaluation = evaluate(codec, clips, settings, PeerCache(out_dir / "peer-cache"), clips_dir.name)
    write_report(evaluation, exemplars(codec, clips, settings), out_dir)
    return evaluation


def evaluate(
    codec: FrameCodec | None,
    clips: Sequence[Clip],
    settings: Settings,
    cache: PeerCache,
    clips_name: str = "clips",
) -> Evaluation:
    """Score every clip in every condition; without a codec, the peers alone."""
    codes = {} if codec is None else {clip.file: encode_clip(codec, clip.read()) for clip in clips}
    present = [peer for peer in settings.peers if not missing_programs(peer)]
    jobs = _all_jobs(codec, codes, clips, settings, present)
    if codec is None and not present:
        raise ConfigError("there is nothing to evaluate: no bundle, and no peer on this system")
    scores = run_jobs(jobs, cache, settings.workers)
    books = () if codec is None else _use_of_books(codec.spec, list(codes.values()))
    return Evaluation(
        metrics_version=METRICS_VERSION,
        codec=None if codec is None else codec.spec,
        clips_folder=clips_name,
        clips=len(clips),
        seed=settings.seed,
        rows=summarise(scores),
        books=books,
        absent_peers=_absent(settings.peers),
        clip_scores=tuple(scores),
    )


def exemplars(
    codec: FrameCodec | None, clips: Sequence[Clip], settings: Settings
) -> tuple[Exemplar, ...]:
    """Return the first clips of each kind, as they were and decoded at every level."""
    if codec is None:
        return ()
    chosen = []
    for kind in dict.fromkeys(clip.kind for clip in clips):
        chosen += [clip for clip in clips if clip.kind == kind][: settings.exemplars_per_kind]
    return tuple(_exemplar(codec, clip, _levels(codec.spec, settings)) for clip in chosen)


def _exemplar(codec: FrameCodec, clip: Clip, levels: Sequence[int]) -> Exemplar:
    samples = clip.read()
    codes = encode_clip(codec, samples)
    decoded = tuple(decode_clip(codec, codes, level, len(samples)) for level in levels)
    return Exemplar(clip.file, clip.kind, samples, tuple(levels), decoded)


# --- what to do -------------------------------------------------------------------------


def _levels(spec: CodecSpec, settings: Settings) -> tuple[int, ...]:
    for level in settings.levels:
        if not 1 <= level <= spec.levels:
            raise ConfigError(f"level {level} is outside 1..{spec.levels} of {spec.name}")
    return settings.levels or tuple(range(1, spec.levels + 1))


def _all_jobs(
    codec: FrameCodec | None,
    codes: dict[str, U16],
    clips: Sequence[Clip],
    settings: Settings,
    peers: Sequence[Peer],
) -> Iterator[Job]:
    for clip in clips:
        if codec is not None:
            yield from _codec_jobs(codec, codes[clip.file], clip, settings)
        for peer in peers:
            yield from jobs_of(peer, clip, settings.loss_rates, settings.seed)


def _codec_jobs(
    codec: FrameCodec, codes: U16, clip: Clip, settings: Settings
) -> Iterator[DecodedJob]:
    reference = clip.read()
    spec = codec.spec
    levels = _levels(spec, settings)
    # Loss costs ten scorings a clip: the lowest, the middle and the highest level tell enough.
    lossy = {levels[0], levels[(len(levels) - 1) // 2], levels[-1]}
    for level in levels:
        for rate, concealment in _losses(clip, settings, level in lossy):
            lost = losses_of(clip.file, len(codes), rate, settings.seed)
            way = concealment or "zero-level"
            yield DecodedJob(
                clip=clip,
                condition=Condition(
                    system=spec.name, level=level, loss_rate=rate, concealment=concealment
                ),
                kbps=spec.bitrate_bps(level) / 1000,
                lost_share=float(lost.mean()),
                reference=reference,
                decoded=decode_clip(
                    codec, codes, level, len(reference), lost=lost, concealment=way
                ),
            )


def _losses(
    clip: Clip, settings: Settings, is_lossy: bool
) -> Iterator[tuple[float, Concealment | None]]:
    """Yield the loss rates of a clip with each way to conceal them; only speech loses frames."""
    yield 0.0, None
    for rate in settings.loss_rates if clip.kind == "speech" and is_lossy else ():
        if rate > 0:
            for concealment in settings.concealments:
                yield rate, concealment


def _absent(peers: Sequence[Peer]) -> tuple[AbsentPeer, ...]:
    return tuple(
        AbsentPeer(name=peer.name, missing_programs=missing_programs(peer))
        for peer in peers
        if missing_programs(peer)
    )


def _use_of_books(spec: CodecSpec, codes: list[U16]) -> tuple[BookUse, ...]:
    return book_use(histograms(np.concatenate(codes), spec.code_sizes))
