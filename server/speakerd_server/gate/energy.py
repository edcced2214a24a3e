"""The stage before the network: frames so quiet that no voice can be in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Float32

FLOOR_DBFS = -80.0
"""Root mean square of a frame, full scale being 1.0, below which it is never voice: 3 steps of 16
bits, the noise of a muted line or of a codec without input."""

_FLOOR_POWER = 10.0 ** (FLOOR_DBFS / 10.0)


def loud_enough(frames: Float32) -> NDArray[np.bool_]:
    """Tell of each frame, float32[n, 512], whether the network must judge it: bool[n].

    By its own samples alone. A constant offset is no sound and does not count.
    """
    return np.asarray(frames.var(axis=1, dtype=np.float64) >= _FLOOR_POWER)
