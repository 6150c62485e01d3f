"""Scores of peers, kept on disk: they change only with the clip, the settings or the program."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from grove.codec.arrays import F32
from grove.codec.atomic import atomic_file
from grove.codec.config import Frozen
from grove.training.evaluation.clips import Clip, digest
from grove.training.evaluation.metrics import METRICS_VERSION, SCORING_RATE_HZ, Scores, score
from grove.training.evaluation.packet_loss import losses_of
from grove.training.evaluation.peers import (
    PACKET_MS,
    Peer,
    conceals_loss,
    program_identity,
    transcode,
)
from grove.training.evaluation.results import ClipScore, Condition


class PeerJob(NamedTuple):
    """A clip to run through a peer."""

    peer: Peer
    clip: Clip
    loss_rate: float
    seed: int


class CachedScore(Frozen):
    """What is kept of a job."""

    kbps: float
    lost_share: float
    scores: Scores


class PeerCache:
    """A folder of finished jobs, one small file each; safe to share between processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, key: str) -> CachedScore | None:
        path = self.folder / f"{key}.json"
        return CachedScore.model_validate_json(path.read_bytes()) if path.is_file() else None

    def keep(self, key: str, found: CachedScore) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.folder / f"{key}.json", overwrite=True) as out:
            out.write(found.model_dump_json().encode())


def peer_score(job: PeerJob, cache: PeerCache) -> ClipScore:
    """Return a job's score, from the cache where it was done before."""
    samples = job.clip.read()
    key = _key(job, samples)
    found = cache.find(key)
    if found is None:
        found = _measure(job, samples)
        cache.keep(key, found)
    concealment = "own" if job.loss_rate else None
    return ClipScore(
        file=job.clip.file,
        kind=job.clip.kind,
        native_rate_hz=job.clip.native_rate_hz,
        condition=Condition(system=job.peer.name, loss_rate=job.loss_rate, concealment=concealment),
        kbps=found.kbps,
        lost_share=found.lost_share,
        scores=found.scores,
    )


def _measure(job: PeerJob, samples: F32) -> CachedScore:
    lost = losses_of(job.clip.file, _packets_of(samples), job.loss_rate, job.seed)
    coded = transcode(job.peer, samples, lost.tolist() if job.loss_rate else ())
    return CachedScore(
        kbps=coded.kbps,
        lost_share=float(lost.mean()),
        scores=score(samples, coded.samples, job.clip.kind),
    )


def _packets_of(samples: F32) -> int:
    """Return the packets of 20 ms in a clip, and one that flushes: as many as our frames."""
    return -(-len(samples) // (PACKET_MS * SCORING_RATE_HZ // 1000)) + 1


def _key(job: PeerJob, samples: F32) -> str:
    parts = {
        "clip": digest(samples),
        # The loss pattern hangs on the name, and which scores apply on the kind.
        "file": job.clip.file if job.loss_rate else "",
        "kind": job.clip.kind,
        "peer": job.peer.model_dump(),
        "program": program_identity(job.peer),
        "loss_rate": job.loss_rate,
        "seed": job.seed if job.loss_rate else 0,
        "metrics_version": METRICS_VERSION,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def jobs_of(peer: Peer, clip: Clip, loss_rates: tuple[float, ...], seed: int) -> list[PeerJob]:
    """Return a clip's jobs: without loss, and for speech at each rate if the peer can lose."""
    rates = [rate for rate in loss_rates if rate > 0]
    lossy = rates if clip.kind == "speech" and conceals_loss(peer) else []
    return [PeerJob(peer, clip, rate, seed) for rate in [0.0, *lossy]]
