"""Tries backends before calls are answered: what they give for made-up sounds."""

from __future__ import annotations

import numpy as np

from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.errors import ModelUnusable
from speakerd_server.values import Float32, Int64

LOWEST_COSINE = {"float32": 0.99999, "float16": 0.999}
"""Least cosine of an embedding to that of the processor, by precision."""

_WINDOWS = 3
_OTHER_FRAMES = 103
_RATE_HZ = 16000


def try_backend(
    backend: Backend,
    bundle: Bundle,
    window_frames: int,
    reference: Backend | None = None,
    lowest_cosine: float = 1.0,
) -> None:
    """Embed a few sounds, of the usual length and of another.

    Args:
        backend: To be tried.
        bundle: That it was opened for.
        window_frames: T of the usual windows.
        reference: Embeds the same sounds to compare with; None: nothing is compared.
        lowest_cosine: To the reference.

    Raises:
        ModelUnusable: An embedding is not finite, zero, of another length than the card says, or
            too far from the reference.
    """
    for windows, frames in ((_WINDOWS, window_frames), (1, window_frames + _OTHER_FRAMES)):
        pcm, rows = _sounds(windows, frames)
        embeddings = _embed(backend, pcm, rows)
        _check(bundle, embeddings, windows)
        if reference is None:
            continue
        wanted = _embed(reference, pcm, rows)
        lowest = _lowest_cosine(embeddings, wanted)
        if not lowest >= lowest_cosine:
            problem = (
                f"an embedding has cosine {lowest:.6f} to that of the processor,"
                f" at least {lowest_cosine:g} is wanted"
            )
            raise ModelUnusable(bundle.onnx_path.parent, problem)


def _embed(backend: Backend, pcm: Float32, rows: Int64) -> Float32:
    samples = pcm.shape[1]
    own_pcm, own_rows = backend.buffers(len(pcm), samples, rows.shape[1])
    own_pcm[:, :samples], own_pcm[:, samples:] = pcm, 0.0
    own_rows[:] = rows
    return backend.embed(own_pcm, own_rows)


def _check(bundle: Bundle, embeddings: Float32, windows: int) -> None:
    wanted = (windows, bundle.card.dim)
    problem = ""
    if embeddings.shape != wanted:
        problem = f"it gives embeddings of shape {embeddings.shape}, the card says {wanted}"
    elif not np.isfinite(embeddings).all():
        problem = "its embedding of a made-up sound is not finite (NaN or infinite)"
    elif not embeddings.any(axis=1).all():
        problem = "its embedding of a made-up sound is zero"
    if problem:
        raise ModelUnusable(bundle.onnx_path.parent, problem)


def _lowest_cosine(embeddings: Float32, wanted: Float32) -> float:
    one, other = embeddings.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / lengths).min())


def _sounds(windows: int, frames: int) -> tuple[Float32, Int64]:
    """Make float32[B, N], harmonics that rise and fall in noise, and int64[B, T]."""
    generator = np.random.default_rng(frames)
    time_s = np.arange(buffer_samples(frames) - 2 * 160) / _RATE_HZ
    sounds = []
    for number in range(windows):
        pitch_hz = 100 + 30 * number + 20 * np.sin(2 * np.pi * (1 + number) * time_s)
        phase = 2 * np.pi * np.cumsum(pitch_hz) / _RATE_HZ
        voice = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 20))
        loudness = 0.05 + 0.1 * np.square(np.sin(2 * np.pi * (2 + number) * time_s))
        sounds.append(loudness * voice + 0.01 * generator.standard_normal(time_s.size))
    return np.stack(sounds).astype(np.float32), np.tile(np.arange(frames), (windows, 1))
