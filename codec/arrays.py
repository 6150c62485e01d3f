"""The arrays that pass between modules, by the type of their numbers."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
"""Samples, spectra and states."""
U16: TypeAlias = NDArray[np.uint16]
"""Codes."""
I64: TypeAlias = NDArray[np.int64]
"""Levels."""
