"""What the batcher needs of an engine."""

from __future__ import annotations

from typing import Protocol

from speakerd_server.values import Float32, Int64


class Backend(Protocol):
    """Computes one batch at a time; one thread calls it, but not always the same one."""

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        """Embed a batch of windows.

        Args:
            pcm: float32[B, N] samples in [-1, 1] at the model's rate.
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
