"""Does another voice take over in a call? Its latest windows against all before them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from speakerd_server.score.similarity import cosine
from speakerd_server.values import Float32, Handover

RECENT = 2
"""Windows that must agree with each other against the others: one alone may be a cough."""
LEAST_EARLIER = 2


class HandoverWatch:
    """Looks at one signal, window by window, until another voice is noticed.

    Args:
        dim: Length of an embedding.
        below: Cosine under which the latest RECENT windows are another voice than all windows
            before; None: nothing is ever noticed.
    """

    def __init__(self, dim: int, below: float | None) -> None:
        self._below = below
        self._earlier: NDArray[np.float64] = np.zeros(dim, np.float64)
        self._count = 0
        self._recent: list[tuple[Float32, int]] = []
        self._begins_at = 0
        self.found: Handover | None = None
        """What was noticed first; it stays."""

    def add(self, embedding: Float32, index: int, signal_samples: int) -> None:
        """Take float32[dim] of the next window, its number and how far into the signal it is."""
        if self._below is None or self.found is not None:
            return
        self._recent.append((embedding, signal_samples))
        if len(self._recent) > RECENT:
            oldest, self._begins_at = self._recent.pop(0)
            self._earlier += oldest
            self._count += 1
        if self._count >= LEAST_EARLIER:
            recent = np.stack([one for one, _ in self._recent]).sum(axis=0, dtype=np.float64)
            alike = cosine(recent, self._earlier)
            if alike < self._below:
                self.found = Handover(alike, index, self._begins_at)
