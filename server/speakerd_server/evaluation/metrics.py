"""Error rates, detection costs and Cllr of scored trials.

Every function takes `scores` float64[n], higher meaning more alike, `target` bool[n] with both
kinds among them, and `weights` float64[n] of 0 or more, by which each trial counts (None: one
each). A trial is accepted at a threshold or above. Trials of equal score are accepted or rejected
together, which keeps the answer free of the order of the list.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import ExtraMissing

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class EqualError(NamedTuple):
    """Where as many targets are missed as non-targets are accepted."""

    rate: float
    """Equal error rate in [0, 1]."""
    threshold: float
    """On the scale of the scores, halfway between the two scores around the crossing."""


class RatesInOrder:
    """The error rates at every threshold that makes a difference; trials are sorted once.

    Point i of g + 1 rejects the i lowest of the g distinct scores: point 0 accepts all, point g
    none.
    """

    def __init__(self, scores: Float64, target: Bool) -> None:
        order = np.argsort(scores, kind="stable")
        in_order = scores[order]
        last = np.append(np.flatnonzero(np.diff(in_order) != 0), in_order.size - 1)
        self.distinct: Float64 = in_order[last]
        self._order, self._last, self._target = order, last, target[order]

    def counts(self, weights: Float64 | None = None) -> tuple[Float64, Float64]:
        """Give the weight of targets and of non-targets that each point rejects [g + 1]."""
        each = np.ones(self._order.size) if weights is None else weights[self._order]
        return self._until_each(each * self._target), self._until_each(each * ~self._target)

    def rates(self, weights: Float64 | None = None) -> tuple[Float64, Float64]:
        """Give the miss rate, rising, and the false-accept rate, falling, at each point [g + 1]."""
        missed, refused = self.counts(weights)
        return missed / missed[-1], 1 - refused / refused[-1]

    def threshold(self, point: int) -> float:
        """Give a threshold, to accept at or above, that makes the point."""
        if point == 0:
            return float(self.distinct[0])
        below = self.distinct[point - 1]
        if point == self.distinct.size:
            return float(np.nextafter(below, np.inf))
        above = self.distinct[point]
        middle = below + (above - below) / 2
        return float(middle if middle > below else above)

    def _until_each(self, each: Float64) -> Float64:
        return np.concatenate([[0.0], np.cumsum(each)[self._last]])


def equal_error(miss: Float64, false_accept: Float64) -> tuple[float, int]:
    """Give the equal error rate in [0, 1] and the first point with as many misses, or more.

    Interpolated linearly between that point and the one before, as the scoring software of NIST's
    SRE 2016 does and WeSpeaker after it.
    """
    gap = miss - false_accept
    right = int(np.argmax(gap >= 0))
    left = right - 1
    share = gap[right] / (gap[right] - gap[left])
    return float(miss[right] + share * (miss[left] - miss[right])), right


def equal_error_rate(scores: Float64, target: Bool, weights: Float64 | None = None) -> EqualError:
    """Give the equal error rate and its threshold."""
    trials = RatesInOrder(scores, target)
    rate, point = equal_error(*trials.rates(weights))
    return EqualError(rate, trials.threshold(point))


def normalised_cost(
    miss: Float64, false_accept: Float64, p_target: float, c_miss: float, c_fa: float
) -> Float64:
    """Give the detection cost at each pair of rates over that of the better blind answer.

    C = (c_miss p miss + c_fa (1-p) fa) / min(c_miss p, c_fa (1-p)): 1 is what accepting all or
    rejecting all costs, whichever is less. Source: NIST SRE 2016 evaluation plan.
    """
    blind = min(c_miss * p_target, c_fa * (1 - p_target))
    cost: Float64 = (c_miss * p_target * miss + c_fa * (1 - p_target) * false_accept) / blind
    return cost


def minimum_cost(
    scores: Float64,
    target: Bool,
    weights: Float64 | None = None,
    *,
    p_target: float,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Give the normalised detection cost at the best threshold (minDCF), in [0, 1].

    Args:
        scores: See the module.
        target: See the module.
        weights: See the module.
        p_target: Prior probability of a target trial, in (0, 1).
        c_miss: Cost of a missed target, positive.
        c_fa: Cost of a false accept, positive.
    """
    rates = RatesInOrder(scores, target).rates(weights)
    return float(normalised_cost(*rates, p_target, c_miss, c_fa).min())


def actual_cost(
    llrs: Float64,
    target: Bool,
    weights: Float64 | None = None,
    *,
    p_target: float,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Give the normalised detection cost at Bayes' threshold (actual DCF), at least minDCF.

    Args:
        llrs: Natural-log likelihood ratios; scores of another scale give nonsense.
        target: See the module.
        weights: See the module.
        p_target: Prior probability of a target trial, in (0, 1).
        c_miss: Cost of a missed target, positive.
        c_fa: Cost of a false accept, positive.
    """
    each = np.ones(llrs.size) if weights is None else weights
    accepted = llrs >= bayes_threshold(p_target, c_miss, c_fa)
    miss = np.asarray(np.average(~accepted[target], weights=each[target]))
    false_accept = np.asarray(np.average(accepted[~target], weights=each[~target]))
    return float(normalised_cost(miss, false_accept, p_target, c_miss, c_fa))


def bayes_threshold(p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Give the natural-log likelihood ratio above which accepting costs less on average."""
    return float(np.log(c_fa * (1 - p_target)) - np.log(c_miss * p_target))


def cllr(llrs: Float64, target: Bool, weights: Float64 | None = None) -> float:
    """Give the cost of log-likelihood ratios, in bits: 0 is perfect, 1 is to know nothing.

    Source: Brümmer and du Preez, "Application-independent evaluation of speaker detection",
    Computer Speech and Language 20 (2006), equation 12.

    Args:
        llrs: Natural-log likelihood ratios; infinite ones are allowed.
        target: See the module.
        weights: See the module.
    """
    each = np.ones(llrs.size) if weights is None else weights
    of_targets = np.average(np.logaddexp(0.0, -llrs[target]), weights=each[target])
    of_others = np.average(np.logaddexp(0.0, llrs[~target]), weights=each[~target])
    return float((of_targets + of_others) / (2 * np.log(2)))


def minimum_cllr(scores: Float64, target: Bool, weights: Float64 | None = None) -> float:
    """Give the Cllr, in bits, of the scores after the best rising map to likelihood ratios.

    The map is found by pooling adjacent violators, for trials of equal score together. Source: as
    `cllr`, section 5.

    Raises:
        ExtraMissing: SciPy is not installed.
    """
    try:
        from scipy.optimize import isotonic_regression
    except ImportError as error:
        raise ExtraMissing("evaluate", "scipy") from error
    missed, refused = RatesInOrder(scores, target).counts(weights)
    targets, others = np.diff(missed), np.diff(refused)
    counted = targets + others > 0
    targets, others = targets[counted], others[counted]
    share = isotonic_regression(targets / (targets + others), weights=targets + others).x
    odds_before = missed[-1] / refused[-1]
    # A group with a target has a share above 0, one with another trial a share below 1.
    one, other = targets > 0, others > 0
    of_targets = np.log1p((1 - share[one]) / share[one] * odds_before)
    of_others = np.log1p(share[other] / (1 - share[other]) / odds_before)
    bits = np.average(of_targets, weights=targets[one])
    bits += np.average(of_others, weights=others[other])
    return float(bits / (2 * np.log(2)))
