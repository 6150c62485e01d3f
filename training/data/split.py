"""The validation split: whole speakers, by hash, a share of every kind."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from grove.training.data.index import AudioIndex

# A speaker may push a kind's held-out hours this far over its share, not further.
_OVERSHOOT = 1.25
# Below this part of the share, a kind's speakers are too few, and single files are held out.
_ENOUGH = 0.5
# From this many on, a kind gives validation one file even where that is more than its share.
_FEWEST_FILES = 3


def hold_out(index: AudioIndex, share: float, *, exact: bool = True) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows held out.

    `exact` comes near `share` of each kind's hours; it looks at all speakers at once. Otherwise
    each speaker is decided by its own hash alone, and the share holds on average only.
    """
    mask = np.zeros(len(index), dtype=np.bool_)
    rows_of: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row, key in enumerate(index.speaker_keys()):
        rows_of[key].append(row)
    if not exact:
        for key, rows in rows_of.items():
            mask[rows] = hash_share("\n".join(key)) < share
        return mask
    for kind in np.unique(index.kind).tolist():
        quota = share * float(index.length[index.kind == kind].sum())
        groups = {"\n".join(key): rows for key, rows in rows_of.items() if key[0] == kind}
        chosen = _fill(groups, index, quota)
        if index.length[chosen].sum() < _ENOUGH * quota:
            files = {f"file\n{index.file[row]}": [row] for rows in groups.values() for row in rows}
            chosen = _fill(files, index, quota)
            if not chosen and quota and len(files) >= _FEWEST_FILES:
                chosen = files[min(files, key=hash_share)]
        mask[chosen] = True
    return mask


def _fill(groups: dict[str, list[int]], index: AudioIndex, quota: float) -> Sequence[int]:
    """Take groups in the order of their hashes until their samples reach the quota."""
    chosen: list[int] = []
    taken = 0
    for name in sorted(groups, key=hash_share):
        size = int(index.length[groups[name]].sum())
        if taken + size <= _OVERSHOOT * quota:
            chosen += groups[name]
            taken += size
        if taken >= quota:
            break
    return chosen


def hash_share(name: str) -> float:
    """Return a number in [0, 1) that depends on the name only."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
