"""Does anything vary in a window? Without variance over time there is no voice in it."""

from __future__ import annotations

import numpy as np

from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import FRAME_SAMPLES, SHIFT_SAMPLES, samples_of_frames

TOLERANCE = 2.0**-11
"""How far a sample may be from its counterpart in the first frame and still count as equal: 16
steps of 16 bits, so that neither rounding, nor dither, nor the idle noise of a muted A-law line
(8 steps around zero) passes as voice. Speech that moves less is far below any line's noise."""


def varies(window: Window) -> bool:
    """Tell whether the frames of the window differ from each other.

    False for digital silence, a constant, a signal that repeats every 160 samples, and a single
    frame repeated: mean removal leaves nothing but zeros of them. Only samples that the rows use
    are looked at.
    """
    if _soon(window):
        return True
    rows = np.unique(window.rows)
    first = window.pcm[SHIFT_SAMPLES * rows[0] :][:FRAME_SAMPLES]
    for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1):
        samples = window.pcm[SHIFT_SAMPLES * run[0] :][: samples_of_frames(len(run))]
        if _differ(samples[:FRAME_SAMPLES], first) or (len(run) > 1 and not _repeats(samples)):
            return True
    return False


def _soon(window: Window) -> bool:
    """Tell whether already the first two frames differ, as they do in nearly all audio."""
    rows = window.rows
    if rows.size < 2 or rows[1] != rows[0] + 1:
        return False
    shifts = window.pcm[SHIFT_SAMPLES * rows[0] :][: 2 * SHIFT_SAMPLES]
    return _differ(shifts[:SHIFT_SAMPLES], shifts[SHIFT_SAMPLES:])


def _repeats(samples: Float32) -> bool:
    """Tell whether every sample equals the one of the first 160 that it is a repetition of."""
    first = samples[:SHIFT_SAMPLES]
    if _differ(samples[SHIFT_SAMPLES : 2 * SHIFT_SAMPLES], first):
        return False
    count = len(samples) // SHIFT_SAMPLES
    rest = samples[count * SHIFT_SAMPLES :]
    blocks = samples[: count * SHIFT_SAMPLES].reshape(count, SHIFT_SAMPLES)
    return not (_differ(blocks, first) or _differ(rest, first[: len(rest)]))


def _differ(some: Float32, others: Float32) -> bool:
    return bool(np.abs(some - others).max() > TOLERANCE)
