"""Windows longer than an engine takes: cut into runs of frame rows, their embeddings averaged.

The rule: a window of T rows, where an engine takes `longest`, becomes n = ceil(T / longest) runs of
rows whose lengths differ by one at most; its embedding is the mean of theirs weighted by their
rows. Each run loses its own mean over time where the front end removes it, so the result is not
that of the whole window but that of the windowed arithmetic with long windows.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from speakerd_server.values import Float32, Int64

FRAME_SAMPLES = 400
SHIFT_SAMPLES = 160
_STRADDLING = 2
"""Rows of 160 samples after a stretch of audio that mix it with what is laid behind it."""


def buffer_samples(frames: int) -> int:
    """Give N so that pcm[N] holds any window of so many frames, a wrapped tail's included.

    A tail is laid on the grid of 160 samples beside the head, with two frames between them that
    no row picks: 160 (T + 1) + 400.
    """
    return SHIFT_SAMPLES * (frames + 1) + FRAME_SAMPLES


def runs(frames: int, longest: int) -> list[slice]:
    """Cut so many rows into as few runs of at most `longest` as there can be, nearly equal."""
    count = -(-frames // longest)
    ends = [frames * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def laid_out(pcm: Float32, rows: Int64) -> tuple[Float32, Int64]:
    """Give the audio that some rows of a window need, and the rows in it.

    Args:
        pcm: float32[N] of the window.
        rows: int64[T], in which numbers fall at most once.

    Returns:
        float32[n] with n <= `buffer_samples(T)`, and int64[T].

    Raises:
        ValueError: The rows need more audio than a window of so many frames has.
    """
    parts = [rows]
    if np.ptp(rows) >= rows.size + _STRADDLING:
        parts = np.split(rows, np.flatnonzero(np.diff(rows) < 0) + 1)
    pieces: list[Float32] = []
    renumbered: list[Int64] = []
    at_row = 0
    for part in parts:
        low, high = int(part.min()), int(part.max())
        piece = pcm[SHIFT_SAMPLES * low : SHIFT_SAMPLES * high + FRAME_SAMPLES]
        renumbered.append(part - low + at_row)
        at_row += high - low + 1 + _STRADDLING
        pieces.append(piece)
    joined = _on_grid(pieces)
    if joined.size > buffer_samples(rows.size):
        raise ValueError(f"{rows.size} rows need {joined.size} samples of audio")
    return joined, np.concatenate(renumbered)


def averaged(embeddings: Float32, parts: list[slice]) -> Float32:
    """Give float32[dim], the mean of float32[n, dim] weighted by the rows of each run."""
    weights = [part.stop - part.start for part in parts]
    mean: NDArray[np.float64] = np.average(embeddings.astype(np.float64), axis=0, weights=weights)
    return mean.astype(np.float32)


def _on_grid(pieces: list[Float32]) -> Float32:
    """Join pieces of audio, each begun at a multiple of 160 samples."""
    gaps = [(0, -piece.size % SHIFT_SAMPLES) for piece in pieces[:-1]] + [(0, 0)]
    return np.concatenate([np.pad(piece, gap) for piece, gap in zip(pieces, gaps, strict=True)])
