"""How alike two embeddings are, on the scales that need nothing but the two of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import ScoreScale

Vector = NDArray[np.float32] | NDArray[np.float64]

SCALE_RANGES: Mapping[ScoreScale, tuple[float, float]] = {
    ScoreScale.COSINE: (-1.0, 1.0),
    ScoreScale.SIMILARITY: (0.0, 1.0),
}
"""Lowest and highest score of each scale that has ends."""


def cosine(first: Vector, second: Vector) -> float:
    """Give the cosine, in [-1, 1], of two vectors[dim] of any length; 0 where one is all zeros."""
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not lengths:
        return 0.0
    return min(1.0, max(-1.0, float(one @ other) / lengths))
