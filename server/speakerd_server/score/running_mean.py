"""The utterance embedding: the plain mean of the raw window embeddings, kept as sum and count."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Float32


class RunningMean:
    """Sums the window embeddings of one signal, in the order in which they are added."""

    def __init__(self, dim: int) -> None:
        self._sum = np.zeros(dim, np.float64)
        self._directions = np.zeros(dim, np.float64)
        self._count = 0

    @property
    def sum(self) -> NDArray[np.float64]:
        """float64[dim]: a copy of the sum."""
        return self._sum.copy()

    @property
    def count(self) -> int:
        """Embeddings added."""
        return self._count

    @property
    def consistency(self) -> float:
        """Cosine in [-1, 1]: mean over the embeddings e of cos(e, S), S being their sum.

        (1/n) sum_i e_i.S / (|e_i| |S|) = D.S / (n |S|) with D the sum of the e_i / |e_i|, so two
        sums are enough. 1 for fewer than two embeddings, 0 where the sum has no direction.
        """
        if self._count < 2:
            return 1.0
        length = math.sqrt(np.vdot(self._sum, self._sum))
        if not length:
            return 0.0
        cosine = float(self._directions @ self._sum) / (self._count * length)
        return min(1.0, max(-1.0, cosine))

    def add(self, embedding: Float32) -> None:
        """Add float32[dim], not length-normalised; ValueError for another shape or length 0."""
        exact = embedding.astype(np.float64)
        length = math.sqrt(np.vdot(exact, exact))
        if exact.shape != self._sum.shape or not length:
            raise ValueError(f"not an embedding: shape {exact.shape}, length {length}")
        self._sum += exact
        self._directions += exact / length
        self._count += 1
