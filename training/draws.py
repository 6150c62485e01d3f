"""Random numbers as a function of where they are used, so that a resumed run draws the same."""

import numpy as np


def generator(*key: int) -> np.random.Generator:
    """Return the generator of a key such as (seed, purpose, step)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
