"""From a score to a natural-log likelihood ratio: the affine map of a calibration."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import DurationsMissing

Float64 = NDArray[np.float64]

_TINY_S = 1e-300


def llr_of(calibration: LlrCalibration, score: float, first_s: float, second_s: float) -> float:
    """Give the natural-log likelihood ratio of one score.

    llr = offset + slope * score + shorter * ln(d_min) + longer * ln(d_max), where seconds outside
    of those behind the fit, shortest_s to longest_s, count as the nearest behind it.

    Args:
        calibration: The map; its `scale` is the scale of `score`.
        score: Finite.
        first_s: Net speech of one side in seconds; looked at only where durations were fitted.
        second_s: Net speech of the other side in seconds; their order does not matter.

    Raises:
        DurationsMissing: Durations were fitted and one is not a positive number of seconds.
    """
    llr = calibration.offset + calibration.slope * score
    if not (calibration.shorter or calibration.longer):
        return llr
    for side in (first_s, second_s):
        if not (math.isfinite(side) and side > 0):
            raise DurationsMissing(calibration.profile, side)
    lowest, highest = max(calibration.shortest_s, _TINY_S), calibration.longest_s
    shorter, longer = (
        math.log(min(max(side, lowest), highest)) for side in sorted((first_s, second_s))
    )
    return llr + (calibration.shorter * shorter + calibration.longer * longer)


def llrs_of(
    calibration: LlrCalibration,
    scores: Float64,
    first_s: Float64 | None = None,
    second_s: Float64 | None = None,
) -> Float64:
    """Give the natural-log likelihood ratios, float64[n], of scores float64[n]; see `llr_of`.

    Args:
        calibration: The map; its `scale` is the scale of `scores`.
        scores: float64[n].
        first_s: float64[n], net speech of one side in seconds, or None where it is not known.
        second_s: float64[n], net speech of the other side.

    Raises:
        DurationsMissing: Durations were fitted and are not there, or not all positive.
    """
    llrs: Float64 = calibration.offset + calibration.slope * np.asarray(scores, np.float64)
    if not (calibration.shorter or calibration.longer):
        return llrs
    logs = log_durations(calibration.profile, first_s, second_s)
    logs = logs.clip(np.log(max(calibration.shortest_s, _TINY_S)), np.log(calibration.longest_s))
    llrs += logs @ np.array([calibration.shorter, calibration.longer])
    return llrs


def log_durations(profile: str, first_s: Float64 | None, second_s: Float64 | None) -> Float64:
    """Give float64[n, 2]: ln of each trial's shorter and of its longer side's seconds.

    Raises:
        DurationsMissing: They are not there, or not all positive and finite; names `profile`.
    """
    if first_s is None or second_s is None:
        raise DurationsMissing(profile, None)
    sides = np.stack([first_s, second_s], axis=1)
    wrong = ~(np.isfinite(sides) & (sides > 0))
    if wrong.any():
        raise DurationsMissing(profile, float(sides[wrong][0]))
    logs: Float64 = np.log(np.sort(sides, axis=1))
    return logs
