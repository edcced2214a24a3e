"""Learns accept and reject boundaries by second from the score paths of whole calls.

Every look's scores are standardised by the mean and the spread that the paths of a kind have at
that second, and one number for all seconds is the boundary: Pocock's boundary for repeated looks
(Biometrika 64, 1977), in its general form the maximum statistic of Westfall and Young
(Resampling-Based Multiple Testing, 1993). A path crosses the boundary at some time if and only if
its largest standardised score does, so that the share of paths that *ever* cross is set by a
quantile of these maxima, whatever the looks have to do with each other.

That quantile is the conservative one of hierarchical data (Lee, Barber and Willett,
"Distribution-free inference with hierarchical data", 2023; Dunn, Wasserman and Ramdas, JASA 118,
2023): each of the K pairs of persons weighs the same, however many calls it has, and one more pair,
the next one, is taken to cross always: (1 + sum of the pairs' shares) / (K + 1) must not be above
the target. For rejection there are as many groups as persons, too few for such a rule; there no
person behind the fit may be rejected in a larger share of its calls than the target.

Where a reject boundary that is still allowed lies above the accept boundary, every place between
them keeps both promises. The middle is taken for both: nearest to keeping them for other people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import TooFewTrials
from speakerd_server.evaluation.score_paths import Paths

Float64 = NDArray[np.float64]

_DECIMALS = 5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """Boundaries over the seconds of net speech, on the scale of the paths."""

    accept: Float64
    """float64[S]: ACCEPT at it or above."""
    reject: Float64
    """float64[S]: REJECT below it; nowhere above accept."""


def learn(paths: Paths, target_far: float, target_frr: float) -> Bounds:
    """Learn both boundaries; see the module. Rounded to five decimals, never to the worse side.

    Args:
        paths: Of both kinds.
        target_far: Share of impostor paths that may ever be accepted.
        target_frr: Share of target paths that may ever be rejected.

    Raises:
        TooFewTrials: There are too few pairs of persons for target_far.
    """
    accept = accept_level(paths.only(~paths.target), target_far)
    reject = reject_level(paths.only(paths.target), target_frr)
    middle = np.where(reject >= accept, (accept + reject) / 2, np.nan)
    shift = 10.0**_DECIMALS
    accept = np.ceil(np.where(np.isnan(middle), accept, middle) * shift - _ROUNDING) / shift
    reject = np.floor(np.where(np.isnan(middle), reject, middle) * shift + _ROUNDING) / shift
    return Bounds(accept, np.where(np.isnan(middle), reject, accept))


def accept_level(impostors: Paths, target_far: float) -> Float64:
    """Give float64[S], the accept boundary that impostors' paths ask for, unrounded.

    Raises:
        TooFewTrials: K pairs of persons are too few: 1 / (K + 1) is above the target.
    """
    shape = _Shape(impostors.highest)
    largest = shape.largest(impostors.highest)
    pair = impostors.pair
    counts = np.bincount(pair)
    ranking = np.argsort(-largest, kind="stable")
    crossed = np.cumsum(1.0 / counts[pair[ranking]])
    fits = (1.0 + crossed) / (len(counts) + 1.0) <= target_far + _ROUNDING
    if 1.0 / (len(counts) + 1.0) > target_far + _ROUNDING:
        what = f"boundaries for the false-accept rate {target_far:g}"
        needed = math.ceil(1.0 / target_far) - 1
        raise TooFewTrials(what, len(counts), needed, "pairs of persons")
    ranked = largest[ranking]
    last_of_its_score = np.append(ranked[1:] != ranked[:-1], True)
    chosen = np.flatnonzero(fits & last_of_its_score)
    level = ranked[chosen[-1]] if chosen.size else _above(ranked[0])
    return shape.at(float(level))


def _above(level: float) -> float:
    return level + 1e-6 * (1.0 + abs(level))


def reject_level(targets: Paths, target_frr: float) -> Float64:
    """Give float64[S], the reject boundary that the targets' paths allow, unrounded."""
    shape = _Shape(targets.lowest)
    smallest = -shape.largest(-targets.lowest, mirrored=True)
    caller = np.array(targets.caller)
    levels = []
    for person in sorted(set(targets.caller)):
        own = np.sort(smallest[caller == person])
        levels.append(own[math.floor(target_frr * len(own) + _ROUNDING)])
    return shape.at(float(min(levels)))


class _Shape:
    """Mean and spread of scores, float64[n, S], at each second; seconds without looks go on."""

    def __init__(self, scores: Float64) -> None:
        looked = ~np.isnan(scores).all(axis=0)
        if not looked.any():
            raise ValueError("paths without a look")
        columns = scores[:, looked]
        filled = np.maximum(np.cumsum(looked) - 1, 0)
        self._mean = np.nanmean(columns, axis=0)[filled]
        self._spread = np.maximum(np.nanstd(columns, axis=0), 1e-6)[filled]

    def largest(self, scores: Float64, *, mirrored: bool = False) -> Float64:
        """Give float64[n]: each path's largest standardised score; `mirrored`: of minus scores."""
        mean = -self._mean if mirrored else self._mean
        largest: Float64 = np.nanmax((scores - mean) / self._spread, axis=1)
        return largest

    def at(self, level: float) -> Float64:
        """Give float64[S]: the scores whose standardised value is `level`."""
        boundary: Float64 = self._mean + level * self._spread
        return boundary
