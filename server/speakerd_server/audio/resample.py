"""float32 samples at one rate -> float32 samples at another, the same for every split."""

from __future__ import annotations

import numpy as np
import soxr  # type: ignore[import-untyped]

from speakerd_server.values import Float32

BLOCKS_PER_S = 10
"""Samples go to the filter in blocks of 100 ms: what a usual message holds, so that one costs
one call of the filter, and the most that a smaller message waits."""


class Resampler:
    """Resamples one signal with soxr's streaming filter (float32, quality HQ).

    The filter sees blocks that are counted from the start of the signal, so what comes out
    cannot depend on how the samples were split. Before its start and after its end the signal
    is taken to stay at its first and last sample: a constant stays exactly constant, where
    zeros would make edges that ring. n samples become n * to_hz / from_hz, rounded half up.
    At equal rates the samples pass through bit for bit.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._from_hz, self._to_hz = from_hz, to_hz
        self._filter: soxr.ResampleStream | None = None
        if from_hz != to_hz:
            self._filter = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
        self._block = np.empty((from_hz // BLOCKS_PER_S, 1), np.float32)
        self._filled = 0
        self._first = np.float32(0.0)
        self._taken = self._given = 0

    def push(self, samples: Float32) -> Float32:
        """Resample the next float32[n]; gives float32[m], as much as is certain by now."""
        if self._filter is None or not samples.size:
            return samples
        if not self._taken:
            self._first = samples[0]
        self._taken += len(samples)
        pieces, at = [], 0
        while at < len(samples):
            end = min(len(samples), at + len(self._block) - self._filled)
            filled = self._filled + end - at
            # Relative to the first sample the signal begins at zero, as the filter supposes.
            np.subtract(samples[at:end], self._first, out=self._block[self._filled : filled, 0])
            at, self._filled = end, filled
            if filled == len(self._block):
                pieces.append(self._filter.resample_chunk(self._block))
                self._filled = 0
        return self._give(pieces)

    def end(self) -> Float32:
        """Give the rest as float32[m]; nothing may follow."""
        if self._filter is None or not self._taken:
            return np.empty(0, np.float32)
        last = self._block[self._filled - 1]
        rest = np.concatenate([self._block[: self._filled], np.full_like(self._block, last)])
        return self._give([self._filter.resample_chunk(rest, last=True)])

    def _give(self, pieces: list[Float32]) -> Float32:
        due = (2 * self._taken * self._to_hz + self._from_hz) // (2 * self._from_hz)
        if not pieces:
            return np.empty(0, np.float32)
        joined = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        samples: Float32 = joined[: due - self._given, 0]
        self._given += len(samples)
        return samples + self._first
