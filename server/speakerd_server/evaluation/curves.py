"""The data of the pictures: plain arrays, thinned to what an eye can tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.evaluation.metrics import RatesInOrder
from speakerd_server.values import ScoreScale

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

MOST_POINTS = 600
"""Of one curve: a list of a million trials makes no larger picture than one of a thousand."""


@dataclass(frozen=True, slots=True, eq=False)
class RateCurves:
    """False accepts and false rejects at thresholds that rise."""

    thresholds: Float64
    """float64[m], on the scale of the scores: accepted at it or above."""
    far: Float64
    """float64[m] in [0, 1], falling."""
    frr: Float64
    """float64[m] in [0, 1], rising."""
    targets: int
    """Trials of one person."""
    impostors: int
    """Trials of two persons."""

    @property
    def far_floor(self) -> float:
        """Half of one impostor pair: where a rate of 0 is drawn on an axis that has no 0."""
        return 0.5 / self.impostors

    @property
    def frr_floor(self) -> float:
        """Half of one genuine pair."""
        return 0.5 / self.targets


@dataclass(frozen=True, slots=True, eq=False)
class Histograms:
    """How the scores of either kind of trial are spread, over the same bins."""

    edges: Float64
    """float64[bins + 1], on the scale of the scores."""
    targets: Float64
    """float64[bins]: shares of the trials of one person, together 1."""
    impostors: Float64
    """float64[bins]: shares of the trials of two persons, together 1."""


@dataclass(frozen=True, slots=True)
class DurationPoint:
    """The equal error rate at one length of speech."""

    speech: str
    """Such as "2 s", or "whole"."""
    rate: float
    """Equal error rate in [0, 1]."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    trials: int
    """Trials whose sides are long enough."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """What is drawn of one list of trials, at one length of speech."""

    label: str
    """How it is named in the picture."""
    curves: RateCurves
    """Error rates."""
    spread: Histograms
    """Scores."""
    scale: ScoreScale
    """Of the scores."""
    equal_error: float
    """Equal error rate in [0, 1]."""
    threshold: float | None = None
    """Marked in the pictures; None: nothing is."""
    threshold_label: str = "threshold"
    """What it is called there."""


def rate_curves(scores: Float64, target: Bool, points: int = MOST_POINTS) -> RateCurves:
    """Give both error rates at every threshold that makes a difference, or at `points` of them.

    Args:
        scores: float64[n], higher for more alike.
        target: bool[n], of both kinds.
        points: At most so many, those where the rates change most on probit axes.
    """
    trials = RatesInOrder(scores, target)
    frr, far = trials.rates()
    targets = int(np.count_nonzero(target))
    impostors = len(target) - targets
    kept = _spread(far, frr, impostors, targets, points)
    # Point i rejects the i lowest distinct scores, so that it accepts from the next one on.
    lowest_accepted = np.append(trials.distinct, np.nextafter(trials.distinct[-1], np.inf))
    falling, rising = (np.clip(rates[kept], 0.0, 1.0) for rates in (far, frr))
    return RateCurves(lowest_accepted[kept], falling, rising, targets, impostors)


def histograms(scores: Float64, target: Bool) -> Histograms:
    """Spread the scores float64[n] of either kind over 15 to 60 bins of equal width.

    The width is that of Freedman and Diaconis (1981) for the kind with the narrower middle half.
    """
    kinds = scores[target], scores[~target]
    low, high = float(scores.min()), float(scores.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    middles = [float(np.subtract(*np.quantile(kind, [0.75, 0.25]))) for kind in kinds]
    widths = [
        2.0 * middle / len(kind) ** (1 / 3)
        for middle, kind in zip(middles, kinds, strict=True)
        if middle > 0
    ]
    narrowest = (high - low) / 60
    bins = round((high - low) / max(narrowest, min(widths))) if widths else 0
    edges = np.linspace(low, high, max(15, bins) + 1)
    shares = [np.histogram(kind, edges)[0] / len(kind) for kind in kinds]
    return Histograms(edges, *shares)


def probit(rates: Float64, floor: float) -> Float64:
    """Give the normal deviates of rates, kept `floor` away from 0 and 1 where they have none."""
    from scipy.special import ndtri

    deviates: Float64 = ndtri(np.clip(rates, floor, 1.0 - floor))
    return deviates


def _spread(
    far: Float64, frr: Float64, impostors: int, targets: int, points: int
) -> NDArray[np.intp]:
    """Choose points evenly along the curve as drawn on probit axes, both ends among them."""
    if len(far) <= points:
        return np.arange(len(far))
    steps = np.abs(np.diff(probit(far, 0.5 / impostors)))
    steps += np.abs(np.diff(probit(frr, 0.5 / targets)))
    length = np.append(0.0, np.cumsum(steps))
    wanted = np.linspace(0.0, length[-1], points - 1)
    kept = np.searchsorted(length, wanted)
    return np.unique(np.append(np.minimum(kept, len(far) - 1), [0, len(far) - 1]))
