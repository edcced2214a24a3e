"""Tries backends before calls are answered: what they give for made-up sounds."""

from __future__ import annotations

from collections.abc import Sequence

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
    batches: Sequence[int] = (),
) -> None:
    """Embed a few sounds, of the usual length, of another, and of the usual one again.

    Args:
        backend: To be tried.
        bundle: That it was opened for.
        window_frames: T of the usual windows.
        reference: Embeds the same sounds to compare with; None: nothing is compared.
        lowest_cosine: To the reference.
        batches: Sizes of the usual batches that come last: what was recorded for each must still
            be right after other work.

    Raises:
        ModelUnusable: An embedding is not finite, zero, of another length than the card says, or
            too far from the reference.
    """
    for windows, frames in ((_WINDOWS, window_frames), (1, window_frames + _OTHER_FRAMES)):
        pcm, rows = _sounds(windows, frames)
        wanted = None if reference is None else _embed(reference, pcm, rows)
        _check(bundle, _embed(backend, pcm, rows), wanted, lowest_cosine, windows)
    pcm, rows = _sounds(_WINDOWS, window_frames)
    alone = None if reference is None else _embed(reference, pcm, rows)
    for batch in batches:
        order = np.arange(batch) % _WINDOWS
        wanted = None if alone is None else alone[order]
        _check(bundle, _embed(backend, pcm[order], rows[order]), wanted, lowest_cosine, batch)


def _embed(backend: Backend, pcm: Float32, rows: Int64) -> Float32:
    samples = pcm.shape[1]
    own_pcm, own_rows = backend.buffers(len(pcm), samples, rows.shape[1])
    own_pcm[:, :samples], own_pcm[:, samples:] = pcm, 0.0
    own_rows[:] = rows
    return backend.embed(own_pcm, own_rows)


def _check(
    bundle: Bundle,
    embeddings: Float32,
    reference: Float32 | None,
    lowest_cosine: float,
    windows: int,
) -> None:
    wanted = (windows, bundle.card.dim)
    problem = ""
    if embeddings.shape != wanted:
        problem = f"it gives embeddings of shape {embeddings.shape}, the card says {wanted}"
    elif not np.isfinite(embeddings).all():
        problem = "its embedding of a made-up sound is not finite (NaN or infinite)"
    elif not embeddings.any(axis=1).all():
        problem = "its embedding of a made-up sound is zero"
    elif reference is not None:
        lowest = _lowest_cosine(embeddings, reference)
        if not lowest >= lowest_cosine:
            problem = (
                f"an embedding in a batch of {windows} has cosine {lowest:.6f} to that of the"
                f" processor, at least {lowest_cosine:g} is wanted"
            )
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
