"""Windows of several lengths with audio that varies, and how alike embeddings are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.values import Float32, Int64, Window
from speakerd_server.windows.slicer import Slicer

DIM = 5


def windows_of(samples: Float32, samples_per_chunk: int = 32000) -> list[Window]:
    """Cut a signal into all its windows, the tail included."""
    slicer = Slicer(samples_per_chunk, 3)
    return [*slicer.push(samples), *slicer.end()]


def coloured(frames: int, seed: int = 0) -> Float32:
    """Make float32[n] for so many frames: noise whose colour and level move."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(160 * (frames - 1) + 400 + 8)
    mixed = np.convolve(white, generator.uniform(-1, 1, 9), "valid")
    level = 0.02 + 0.1 * np.square(np.sin(np.arange(mixed.size) / 3000 + seed))
    return (level * mixed).astype(np.float32)


def window(frames: int, seed: int = 0) -> Window:
    """Make one whole window of T frames."""
    pcm = coloured(frames, seed)
    return Window(seed, pcm, np.arange(frames), pcm.size)


def batch(windows: int, frames: int) -> tuple[Float32, Int64]:
    """Make float32[B, N] and int64[B, T]."""
    pcm = np.stack([coloured(frames, seed) for seed in range(windows)])
    return pcm, np.tile(np.arange(frames), (windows, 1))


def fake_embedding(one: Window) -> Float32:
    """Give what a `FakeBackend` of DIM gives for a window alone."""
    (found,) = embed_windows(FakeBackend(DIM), [one], DIM)
    assert isinstance(found, np.ndarray)
    return found


def lowest_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Give the least cosine between rows of two arrays."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return float(((first * second).sum(axis=-1) / lengths).min())
