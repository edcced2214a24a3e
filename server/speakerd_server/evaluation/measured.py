"""What is measured of scored trials: error rates, costs and Cllr, with intervals over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speakerd_server.cards import LlrCalibration
from speakerd_server.evaluation.bootstrap import (
    LEAST_SPEAKERS,
    Interval,
    bootstrap_weights,
    interval,
)
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.metrics import (
    Float64,
    RatesInOrder,
    actual_cost,
    cllr,
    equal_error,
    minimum_cllr,
    normalised_cost,
)
from speakerd_server.score.calibration import llrs_of


@dataclass(frozen=True, slots=True)
class Application:
    """Where the verdicts are used: how often targets come and what errors cost."""

    p_target: float
    """Prior probability of a target trial, in (0, 1)."""
    c_miss: float = 1.0
    """Cost of a missed target, positive."""
    c_fa: float = 1.0
    """Cost of a false accept, positive."""


@dataclass(frozen=True, slots=True)
class MeasuredCost:
    """Normalised detection costs in one application; 1 is what a blind answer costs."""

    application: Application
    """Which one."""
    minimum: float
    """At the best threshold (minDCF)."""
    minimum_interval: Interval | None
    """95 %, over speakers; None where it is not given."""
    actual: float | None
    """At Bayes' threshold (actual DCF); None without a calibration."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The numbers of one `Evaluated`."""

    target_trials: int
    """Trials of one person."""
    nontarget_trials: int
    """Trials of two persons."""
    speakers: int
    """Persons on either side."""
    equal_error_rate: float
    """In [0, 1]."""
    equal_error_interval: Interval | None
    """95 %, over speakers; None with fewer than five of them, or where not asked for."""
    threshold: float
    """At the equal error rate, on the scale of the scores."""
    costs: tuple[MeasuredCost, ...]
    """One for each application."""
    minimum_cllr: float
    """In bits: after the best rising map."""
    cllr: float | None
    """In bits, of the calibrated ratios; None without a calibration."""
    calibration: LlrCalibration | None = None
    """What made ratios of the scores, for `cllr` and actual costs."""


def measure(
    evaluated: Evaluated,
    applications: Sequence[Application],
    *,
    draws: int = 1000,
    seed: int = 0,
    calibration: LlrCalibration | None = None,
) -> Measured | None:
    """Measure scored trials; None where target or non-target trials are missing.

    Args:
        evaluated: The trials.
        applications: Costs that are wanted.
        draws: Of the bootstrap over speakers; 0: no intervals.
        seed: Of the bootstrap.
        calibration: Of the scores' scale, for actual costs and Cllr; None: without these.

    Raises:
        ExtraMissing: SciPy is not installed.
        DurationsMissing: The calibration needs seconds of speech that are not known.
    """
    target = evaluated.trials.target
    if target.all() or not target.any():
        return None
    trials = RatesInOrder(evaluated.scores, target)
    rates = trials.rates()
    rate, point = equal_error(*rates)
    llrs = None
    if calibration is not None:
        seconds = evaluated.enroll_seconds, evaluated.test_seconds
        llrs = llrs_of(calibration, evaluated.scores, *seconds)
    speakers = len({*evaluated.enroll_speaker, *evaluated.test_speaker})
    intervals = _intervals(evaluated, trials, applications, draws, seed, speakers)
    return Measured(
        target_trials=int(target.sum()),
        nontarget_trials=int((~target).sum()),
        speakers=speakers,
        equal_error_rate=rate,
        equal_error_interval=intervals[0],
        threshold=trials.threshold(point),
        costs=tuple(
            MeasuredCost(one, minimum, around, _actual(llrs, evaluated, one))
            for one, minimum, around in zip(
                applications, _minima(rates, applications), intervals[1:], strict=True
            )
        ),
        minimum_cllr=minimum_cllr(evaluated.scores, target),
        cllr=None if llrs is None else cllr(llrs, target),
        calibration=calibration,
    )


def _minima(rates: tuple[Float64, Float64], applications: Sequence[Application]) -> list[float]:
    return [
        float(normalised_cost(*rates, one.p_target, one.c_miss, one.c_fa).min())
        for one in applications
    ]


def _actual(llrs: Float64 | None, evaluated: Evaluated, one: Application) -> float | None:
    if llrs is None:
        return None
    target = evaluated.trials.target
    return actual_cost(llrs, target, p_target=one.p_target, c_miss=one.c_miss, c_fa=one.c_fa)


def _intervals(
    evaluated: Evaluated,
    trials: RatesInOrder,
    applications: Sequence[Application],
    draws: int,
    seed: int,
    speakers: int,
) -> list[Interval | None]:
    """Give the intervals of the equal error rate and of each application's least cost."""
    if not draws or speakers < LEAST_SPEAKERS:
        return [None] * (1 + len(applications))
    drawn = []
    sides = evaluated.enroll_speaker, evaluated.test_speaker
    for weights in bootstrap_weights(*sides, draws, seed):
        rates = trials.rates(weights)
        drawn.append([equal_error(*rates)[0], *_minima(rates, applications)])
    return [interval(values) for values in np.array(drawn).T]
