"""What the batcher needs of an engine."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from speakerd_server.values import Float32, Int64


class Backend(Protocol):
    """Computes one batch at a time; one thread calls it, but not always the same one.

    Two batches in flight on one device are two backends over what they share, or one that says
    that several threads may call it at once.
    """

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        """Give the memory that the next batch is laid out in, before `embed` is called with it.

        Args:
            windows: B of the batch, at least 1.
            samples: Least N.
            frames: T.

        Returns:
            float32[B, N] with N >= samples and int64[B, T], of any content; valid until the next
            call. Page-locked, already on the device's bus or plain, as suits the backend.

        Raises:
            Exception: Any, for a batch that the backend cannot hold; taken like one of `embed`.
        """
        ...

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch of windows.

        Args:
            pcm: float32[B, N] samples in [-1, 1] at the model's rate, as `buffers` gave it.
            rows: int64[B, T] frame numbers; frame r is pcm[:, 160 r : 160 r + 400].

        Returns:
            float32[B, dim] embeddings, not length-normalised.

        Raises:
            Exception: Any; the batcher tries the windows of a failed batch one by one.
        """
        ...

    def close(self) -> None:
        """Let go of the model; `embed` is not called afterwards."""
        ...


def plain_buffers(windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
    """Give `Backend.buffers` of ordinary memory: float32[B, N] and int64[B, T]."""
    return np.empty((windows, samples), np.float32), np.empty((windows, frames), np.int64)
