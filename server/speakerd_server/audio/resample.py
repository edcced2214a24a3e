"""float32 samples at one rate -> float32 samples at another, the same for every split."""

from __future__ import annotations

import numpy as np
import soxr  # type: ignore[import-untyped]

from speakerd_server.values import Float32

_EDGE_S = 0.1
"""How long the signal is taken to stay at its last sample: longer than the filter looks ahead."""


class Resampler:
    """Resamples one signal with soxr's streaming filter (float32, quality HQ).

    What comes out does not depend on how the samples were split: the filter computes in blocks
    counted from the start of the signal, to the last bit. Before its start and after its end the
    signal is taken to stay at its first and last sample: a constant stays exactly constant, where
    zeros would make edges that ring. n samples become n * to_hz / from_hz, rounded half up.
    At equal rates the samples pass through bit for bit.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz, self._to_hz = from_hz, to_hz
        self._filter: soxr.ResampleStream | None = None
        if from_hz != to_hz:
            self._filter = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
        self._first = self._last = np.float32(0.0)
        self._taken = self._given = 0

    def samples_for(self, given_samples: int) -> int:
        """Give the fewest samples that must go in, from the start, for so many to come out."""
        return -(-self._from_hz * (2 * given_samples - 1) // (2 * self._to_hz))

    def push(self, samples: Float32) -> Float32:
        """Resample the next float32[n]; gives float32[m], as much as is certain by now."""
        if self._filter is None or not samples.size:
            return samples
        if not self._taken:
            self._first = samples[0]
        self._taken += len(samples)
        self._last = samples[-1]
        # Relative to the first sample the signal begins at zero, as the filter supposes.
        return self._give(self._filter.resample_chunk(samples - self._first))

    def end(self) -> Float32:
        """Give the rest as float32[m]; nothing may follow."""
        if self._filter is None or not self._taken:
            return np.empty(0, np.float32)
        edge = np.full(round(_EDGE_S * self._from_hz), self._last - self._first, np.float32)
        return self._give(self._filter.resample_chunk(edge, last=True))

    def _give(self, filtered: Float32) -> Float32:
        due = (2 * self._taken * self._to_hz + self._from_hz) // (2 * self._from_hz)
        samples: Float32 = filtered[: due - self._given]
        self._given += len(samples)
        samples += self._first
        return samples
