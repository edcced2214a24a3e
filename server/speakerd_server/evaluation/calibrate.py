"""Fits a calibration: affine logistic regression, measured on speakers left out of the fit.

The objective is the prior-weighted logistic loss of Brümmer and du Preez (Computer Speech and
Language 20, 2006) and of the BOSARIS toolkit (2013); at prior 0.5 it is Cllr itself. Where the
scores of one person and of two do not overlap, that loss has no minimum and the slope would grow
without end. So the labels are softened by Laplace's rule of succession, as Platt does (Advances in
Large Margin Classifiers, 1999): among n trials of one kind, as many again as 1/(n+2) of them are
taken to have come out the other way. Two separate clusters of scores then get ln(n_target + 1) and
-ln(n_nontarget + 1) at prior 0.5: no more than so many trials can tell. Durations enter as quality
measures, the logarithms of the shorter and of the longer side's net speech (Mandasari et al., IEEE
Transactions on Audio, Speech and Language Processing 21, 2013).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import ExtraMissing, TooFewTrials, TrialsUnusable
from speakerd_server.evaluation.bootstrap import (
    LEAST_SPEAKERS,
    Interval,
    bootstrap_weights,
    interval,
)
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.metrics import cllr, minimum_cllr
from speakerd_server.score.calibration import log_durations
from speakerd_server.values import ScoreScale

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

MOST_FOLDS = 10
"""More speakers than that are left out several at a time."""

_RIDGE = 1e-6
"""On the squared standardised slopes: decides between terms that say the same, nothing else."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What log-likelihood ratios cost, in bits."""

    cllr: float
    """Cllr: 0 for perfect ratios, 1 for ratios that say nothing; no upper limit."""
    interval: Interval
    """95 %, by bootstrap over speakers."""
    minimum: float
    """Cllr after the best rising map of these same trials: what no calibration gets below."""


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A calibration of all trials, and what such calibrations cost on speakers they never saw."""

    calibration: LlrCalibration
    """Fitted on all trials."""
    left_out: Float64
    """float64[n]: llr of each trial by a fit that saw neither of its persons."""
    before: Cost
    """Of the scores taken as ratios, as they are."""
    after: Cost
    """Of `left_out`."""
    folds: int
    """Groups into which the speakers were divided; a trial's one or two groups are left out."""
    trials: int
    """Trials fitted on."""


def fit(
    evaluated: Sequence[Evaluated],
    *,
    trials: str,
    profile: str = "default",
    with_durations: bool = False,
    prior: float = 0.5,
    draws: int = 1000,
    seed: int = 0,
) -> Fitted:
    """Fit a score, and the durations when asked, to a natural-log likelihood ratio.

    Args:
        evaluated: All on one scale; their trials are taken together, so that one list at several
            lengths of speech makes one calibration.
        trials: What the calibration will say that it was fitted on.
        profile: Channel type.
        with_durations: Fit the logarithms of the shorter and longer side's net speech too.
        prior: Of a target, in ]0, 1[: where on the scale of ratios the fit is to be best.
        draws: Of the bootstrap for the intervals.
        seed: Of the bootstrap.

    Raises:
        TrialsUnusable: A score is not finite, a kind of trial is missing, as a whole or where
            speakers are left out, or the scores do not rise with sameness.
        TooFewTrials: There are fewer than five speakers.
        DurationsMissing: Durations are asked for and not all there.
        ExtraMissing: scipy is not installed.
    """
    given = _together(evaluated)
    persons = _check(given)
    terms = given.scores[:, None]
    if with_durations:
        logs = log_durations(profile, given.enroll_seconds, given.test_seconds)
        terms = np.hstack([terms, logs])
    weights = _affine(terms, given.target, prior)
    if weights[1] <= 0:
        problem = "the scores do not rise with sameness; are the labels right?"
        raise TrialsUnusable(given.path, problem)
    folds = min(MOST_FOLDS, len(persons))
    left_out = _left_out(given, terms, prior, {name: i % folds for i, name in enumerate(persons)})
    before, after = (_cost(given, llrs, draws, seed) for llrs in (given.scores, left_out))
    offset, slope, shorter, longer = [*weights.tolist(), 0.0, 0.0][:4]
    calibration = LlrCalibration(
        profile=profile,
        scale=given.scale,
        offset=offset,
        slope=slope,
        shorter=shorter,
        longer=longer,
        speakers=len(persons),
        cllr_before=before.cllr,
        cllr_after=after.cllr,
        trials=trials,
        **_range_s(given) if with_durations else {},
    )
    return Fitted(calibration, left_out, before, after, folds, len(given.scores))


@dataclass(frozen=True, slots=True, eq=False)
class _Together:
    """The trials of several evaluations, one after the other."""

    path: Path
    scale: ScoreScale
    scores: Float64
    target: Bool
    enroll_speaker: tuple[str, ...]
    test_speaker: tuple[str, ...]
    enroll_seconds: Float64 | None
    test_seconds: Float64 | None


def _together(evaluated: Sequence[Evaluated]) -> _Together:
    first = evaluated[0]
    if any(one.scale is not first.scale for one in evaluated):
        raise TrialsUnusable(first.trials.path, "scores of two scales make no calibration together")
    return _Together(
        first.trials.path,
        first.scale,
        np.concatenate([one.scores for one in evaluated]).astype(np.float64),
        np.concatenate([one.trials.target for one in evaluated]),
        tuple(name for one in evaluated for name in one.enroll_speaker),
        tuple(name for one in evaluated for name in one.test_speaker),
        _all_seconds([one.enroll_seconds for one in evaluated]),
        _all_seconds([one.test_seconds for one in evaluated]),
    )


def _all_seconds(seconds: Sequence[Float64 | None]) -> Float64 | None:
    """Give float64[all trials], or None unless they are known everywhere."""
    known = [one for one in seconds if one is not None]
    return np.concatenate(known) if len(known) == len(seconds) else None


def _range_s(given: _Together) -> dict[str, float]:
    """Give the seconds of the shortest and of the longest side, if they differ."""
    sides = [one for one in (given.enroll_seconds, given.test_seconds) if one is not None]
    shortest, longest = (float(end) for end in (np.min(sides), np.max(sides)))
    return {"shortest_s": shortest, "longest_s": longest} if shortest < longest else {}


def _check(given: _Together) -> list[str]:
    """Give the persons, sorted, of trials that can be fitted."""
    if not np.isfinite(given.scores).all():
        raise TrialsUnusable(given.path, "a score is not a finite number")
    if given.target.all() or not given.target.any():
        missing = "non-target" if given.target.all() else "target"
        raise TrialsUnusable(given.path, f"there is no {missing} trial among them")
    persons = sorted({*given.enroll_speaker, *given.test_speaker})
    if len(persons) < LEAST_SPEAKERS:
        raise TooFewTrials("calibration", len(persons), LEAST_SPEAKERS, "speakers")
    return persons


def _affine(terms: Float64, target: Bool, prior: float) -> Float64:
    """Give float64[1 + terms]: offset and slopes of the smallest softened loss; see the module.

    Newton steps in a trust region on standardised terms; the loss is convex and grows in every
    direction, so there is one minimum. A term without variance gets the slope 0.
    """
    try:
        from scipy.optimize import minimize
    except ModuleNotFoundError as error:
        raise ExtraMissing("evaluate", "scipy") from error
    counts = np.where(target, np.count_nonzero(target), np.count_nonzero(~target))
    softened = np.where(target, counts + 1.0, 1.0) / (counts + 2.0)
    weights = np.where(target, prior, 1.0 - prior) / counts
    log_odds = np.log(prior / (1.0 - prior))
    mean, spread = terms.mean(axis=0), terms.std(axis=0)
    varies = spread > 1e-9 * (1.0 + np.abs(mean))
    scaled = np.where(varies, (terms - mean) / np.where(varies, spread, 1.0), 0.0)
    inputs = np.hstack([np.ones((len(scaled), 1)), scaled])
    ridge = np.full(inputs.shape[1], _RIDGE)

    def loss(point: Float64) -> tuple[float, Float64]:
        odds = inputs @ point + log_odds
        value = weights @ (np.logaddexp(0.0, odds) - softened * odds)
        slope = inputs.T @ (weights * (_sigmoid(odds) - softened))
        return value + 0.5 * ridge @ point**2, slope + ridge * point

    def curvature(point: Float64) -> Float64:
        likely = _sigmoid(inputs @ point + log_odds)
        bent: Float64 = (inputs.T * (weights * likely * (1.0 - likely))) @ inputs + np.diag(ridge)
        return bent

    start = np.zeros(inputs.shape[1])
    options = {"gtol": 1e-9, "maxiter": 500}
    found = minimize(loss, start, jac=True, hess=curvature, method="trust-exact", options=options).x
    slopes = np.where(varies, found[1:] / np.where(varies, spread, 1.0), 0.0)
    return np.concatenate([[found[0] - mean @ slopes], slopes])


def _sigmoid(odds: Float64) -> Float64:
    """1 / (1 + exp(-odds)), without overflow."""
    likely: Float64 = np.exp(-np.logaddexp(0.0, -odds))
    return likely


def _left_out(given: _Together, terms: Float64, prior: float, fold_of: dict[str, int]) -> Float64:
    """Give each trial's llr, float64[n], by a fit that saw neither of its persons."""
    sides = np.sort(
        [[fold_of[name] for name in names] for names in (given.enroll_speaker, given.test_speaker)],
        axis=0,
    )
    llrs = np.zeros(len(terms))
    for low, high in sorted(set(zip(*sides.tolist(), strict=True))):
        seen = ~np.isin(sides, (low, high)).any(axis=0)
        target = given.target[seen]
        if target.all() or not target.any():
            kind = "non-target" if target.any() else "target"
            left = ", ".join(sorted(name for name, fold in fold_of.items() if fold in (low, high)))
            problem = f"with {left} left out of the fit no {kind} trial is left; add speakers"
            raise TrialsUnusable(given.path, problem)
        offset, *slopes = _affine(terms[seen], target, prior)
        here = (sides[0] == low) & (sides[1] == high)
        llrs[here] = offset + terms[here] @ np.array(slopes)
    return llrs


def _cost(given: _Together, llrs: Float64, draws: int, seed: int) -> Cost:
    drawn = [
        cllr(llrs, given.target, weights)
        for weights in bootstrap_weights(given.enroll_speaker, given.test_speaker, draws, seed)
    ]
    return Cost(cllr(llrs, given.target), interval(drawn), minimum_cllr(llrs, given.target))
