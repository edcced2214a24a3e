"""How much of a signal lies at the end of its scale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from speakerd_server.values import Encoding, Float32

_NEAR = 0.999
_LARGEST: Mapping[Encoding, float] = {
    Encoding.PCM16LE: 32_767 / 32_768,
    Encoding.FLOAT32LE: 1.0,
    Encoding.MULAW: 32_124 / 32_768,
    Encoding.ALAW: 32_256 / 32_768,
}
"""The largest sample of each."""


class Clipping:
    """Counts samples that are, with the two before them, at the end of the scale.

    A single one may be a peak that just fits; three in a row were cut. Looked at after resampling,
    which leaves the ends of the scale where they are or overshoots them.
    """

    def __init__(self, encoding: Encoding) -> None:
        self._limit = np.float32(_LARGEST[encoding] * _NEAR)
        self._before = np.zeros(2, np.bool_)
        self._clipped = self._samples = 0

    @property
    def share(self) -> float:
        """Of all samples, in [0, 1]."""
        return self._clipped / self._samples if self._samples else 0.0

    def push(self, samples: Float32) -> None:
        """Take the next float32[n]."""
        if not samples.size:
            return
        self._samples += len(samples)
        if not self._before.any() and float(max(samples.max(), -samples.min())) < self._limit:
            return
        ends = np.concatenate([self._before, np.abs(samples) >= self._limit])
        self._clipped += int(np.count_nonzero(ends[2:] & ends[1:-1] & ends[:-2]))
        self._before = ends[-2:]
