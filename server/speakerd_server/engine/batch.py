"""One batch: lay the windows out, embed them, and find out who is to blame if that fails."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speakerd_server.engine.backend import Backend
from speakerd_server.errors import (
    BatchFailed,
    DeviceLost,
    DeviceOutOfMemory,
    EmbeddingInvalid,
    EngineFailed,
    RemoteEngineUnavailable,
)
from speakerd_server.values import Float32, Window

Outcome = Float32 | EngineFailed | RemoteEngineUnavailable


def embed_windows(backend: Backend, windows: Sequence[Window], dim: int) -> list[Outcome]:
    """Embed windows of one length together; if that fails, one by one.

    Where a device has no memory for them, halves are tried before anything is refused. Where the
    engine is elsewhere and away, nothing more is tried.

    Args:
        backend: Computes.
        windows: All with the same number of rows; PCM is padded with zeros to the longest.
        dim: Length that each embedding must have.

    Returns:
        For each window a float32[dim], finite and non-zero, or the named reason why not.

    Raises:
        DeviceLost: The backend's device can do nothing more, for no window.
    """
    try:
        embeddings = _embed_together(backend, windows, dim)
    except DeviceLost:
        raise
    except RemoteEngineUnavailable as error:
        return [error for _ in windows]
    except DeviceOutOfMemory as error:
        if len(windows) == 1:
            return [error]
        half = len(windows) // 2
        parts = windows[:half], windows[half:]
        return [outcome for part in parts for outcome in embed_windows(backend, part, dim)]
    # A backend may fail in any way; the callers of the other windows must not feel it.
    except Exception as error:  # noqa: BLE001
        if len(windows) == 1:
            return [BatchFailed(f"{type(error).__name__}: {error}")]
        return [outcome for window in windows for outcome in embed_windows(backend, [window], dim)]
    return [_checked(embedding) for embedding in embeddings]


def _embed_together(backend: Backend, windows: Sequence[Window], dim: int) -> Float32:
    longest_samples = max(window.pcm.size for window in windows)
    pcm, rows = backend.buffers(len(windows), longest_samples, windows[0].rows.size)
    for padded, chosen, window in zip(pcm, rows, windows, strict=True):
        padded[: window.pcm.size] = window.pcm
        padded[window.pcm.size :] = 0.0
        chosen[:] = window.rows
    embeddings = backend.embed(pcm, rows)
    if embeddings.shape != (len(windows), dim):
        raise ValueError(f"embeddings of shape {embeddings.shape}, not {(len(windows), dim)}")
    return embeddings


def _checked(embedding: Float32) -> Outcome:
    if not np.isfinite(embedding).all():
        return EmbeddingInvalid("is not finite")
    if not embedding.any():
        return EmbeddingInvalid("is zero")
    return embedding.copy()
