"""A backend without a model: for tests and for benches of everything but the engine."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from speakerd_server.engine.backend import plain_buffers
from speakerd_server.values import Float32, Int64


class FakeBackend:
    """Gives embeddings that depend on the audio alone, whatever is batched beside it.

    Args:
        dim: Length of an embedding.
        poison: Called with the PCM of each window, float32[N]; True makes the whole batch fail.
        delay_s: How long each batch takes.
    """

    def __init__(
        self,
        dim: int = 192,
        poison: Callable[[Float32], bool] | None = None,
        delay_s: float = 0.0,
    ) -> None:
        self._dim, self._poison, self._delay_s = dim, poison, delay_s
        self._basis = np.random.default_rng(0).standard_normal((4, dim)).astype(np.float32)
        self.batches: list[tuple[int, ...]] = []
        """Shape of the rows, [B, T], of each batch so far."""
        self.closed = False
        """Whether `close` was called."""

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give plain memory; see `Backend.buffers`."""
        return plain_buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch; see `Backend.embed`.

        Raises:
            ValueError: The batch has a poisoned window.
        """
        self.batches.append(rows.shape)
        if self._delay_s:
            time.sleep(self._delay_s)
        if self._poison is not None and any(self._poison(window) for window in pcm):
            raise ValueError("poisoned window")
        return np.stack([self._embed(*window) for window in zip(pcm, rows, strict=True)])

    def close(self) -> None:
        """Remember that it was called."""
        self.closed = True

    def _embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Mix four fixed vectors by level, zero crossings and the extremes of the used frames."""
        frames = np.lib.stride_tricks.sliding_window_view(pcm, 400)[::160][rows]
        crossings = np.mean(np.signbit(frames[:, 1:]) != np.signbit(frames[:, :-1]))
        shape = np.array([1.0, frames.std(), crossings, np.ptp(frames)], np.float32)
        embedding: Float32 = shape @ self._basis
        return embedding
