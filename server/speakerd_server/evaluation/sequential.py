"""Measures boundaries on persons who were left out of their fit, beside one look and one threshold.

The persons are divided into groups, those of the cohort into groups of their own. Each path is
judged by boundaries learnt from the paths of all persons but those of its caller's and its claimed
person's groups; with at most ten callers a group is one caller, so that two are left out in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import TooFewTrials
from speakerd_server.evaluation.bootstrap import (
    LEAST_SPEAKERS,
    Interval,
    bootstrap_weights,
    exact_interval,
    interval,
    widest,
)
from speakerd_server.evaluation.boundaries import Bounds, accept_level, learn
from speakerd_server.evaluation.calibrate import MOST_FOLDS
from speakerd_server.evaluation.score_paths import Paths
from speakerd_server.evaluation.thresholds import smallest_far

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

FIXED_S = 10
"""Seconds of net speech of the decision that boundaries are compared with."""
NEVER, ACCEPTED, REJECTED = 0, 1, -1


@dataclass(frozen=True, slots=True)
class Rate:
    """A share and the interval of 95 % around it."""

    value: float
    """In [0, 1]."""
    interval: Interval
    """By bootstrap over speakers, never narrower than Clopper and Pearson's over what differs:
    pairs of persons for impostors, persons for true speakers."""


@dataclass(frozen=True, slots=True)
class Way:
    """How one way of deciding did on persons left out of its fit."""

    name: str
    """For people."""
    ever_accepted: Rate
    """Of impostor calls."""
    ever_rejected: Rate
    """Of the true speakers' calls."""
    undecided: float
    """Share of the true speakers' calls without a decision at the maximum."""
    seconds_mean: float
    """Net speech until the decision in the true speakers' calls; without one, the maximum."""
    seconds_p90: float
    """The same that 90 % of them do not exceed."""
    impostor_seconds_mean: float
    """As seconds_mean, of impostor calls."""


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """Boundaries of all paths, and what such boundaries do to people they never saw."""

    bounds: Bounds
    """Learnt from all paths."""
    paths: Paths
    """All paths."""
    target_far: float
    """Share of impostor calls that may ever be accepted."""
    target_frr: float
    """Share of the true speakers' calls that may ever be rejected."""
    ways: tuple[Way, ...]
    """The boundaries first, then what they are compared with."""
    folds: int
    """Fits with persons left out."""
    persons: int
    """Callers."""
    target_calls: int
    """Calls compared with their own person."""
    impostor_calls: int
    """Calls compared with somebody else."""
    impostor_pairs: int
    """Pairs of different persons among them."""
    smallest_far: float
    """The smallest target_far that the data supports: 3 over the pairs of the smallest fit."""
    smallest_frr: float
    """The same for target_frr: 3 over the persons; below it a rate is an indication."""


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    decided: NDArray[np.int8]
    seconds: Float64


def measure(
    paths: Paths, target_far: float, target_frr: float, *, draws: int = 1000, seed: int = 0
) -> Learnt:
    """Learn boundaries, and measure such on persons left out of the fit.

    Args:
        paths: Of at least five callers.
        target_far: In ]0, 0.5].
        target_frr: In ]0, 0.5].
        draws: Of the bootstrap for the intervals.
        seed: Of the bootstrap.

    Raises:
        TooFewTrials: There are too few callers, or pairs of persons for target_far.
        ExtraMissing: scipy is not installed.
    """
    callers = sorted(set(paths.caller))
    check_callers(len(callers))
    folds = list(_folds(paths, callers))
    pairs = min(_pairs(paths.only(seen)) for seen, _ in folds)
    needed = math.ceil(3.0 / target_far - 1e-9)
    if pairs < needed:
        what = f"sequential boundaries for the false-accept rate {target_far:g}"
        what += f" (so many pairs support {math.ceil(smallest_far(pairs) * 1e4) / 1e4:g} and above)"
        raise TooFewTrials(what, pairs, needed, "pairs of persons in the smallest fit")
    outcomes = _judged(paths, folds, target_far, target_frr)
    ways = [
        _way(name, paths, outcome, draws=draws, seed=seed) for name, outcome in outcomes.items()
    ]
    target = paths.target
    return Learnt(
        bounds=learn(paths, target_far, target_frr),
        paths=paths,
        target_far=target_far,
        target_frr=target_frr,
        ways=tuple(ways),
        folds=len(folds),
        persons=len(callers),
        target_calls=int(target.sum()),
        impostor_calls=int((~target).sum()),
        impostor_pairs=_pairs(paths),
        smallest_far=smallest_far(pairs),
        smallest_frr=smallest_far(len(callers)),
    )


def check_callers(callers: int) -> None:
    """Raise TooFewTrials where so few persons have a call."""
    if callers < LEAST_SPEAKERS:
        what = "sequential boundaries (of speakers with enough speech for an enrolment and a call)"
        raise TooFewTrials(what, callers, LEAST_SPEAKERS, "speakers")


def _pairs(paths: Paths) -> int:
    return len(np.unique(paths.only(~paths.target).pair))


def _folds(paths: Paths, callers: Sequence[str]) -> Iterator[tuple[Bool, Bool]]:
    """Give bool[n], the paths to learn from, and bool[n], those to judge; each is judged once."""
    groups = min(MOST_FOLDS, len(callers))
    group = {name: number % groups for number, name in enumerate(callers)}
    cohort = sorted(set(paths.claimed) - set(callers))
    group |= {name: groups + number % MOST_FOLDS for number, name in enumerate(cohort)}
    sides = np.array([[group[name] for name in side] for side in (paths.caller, paths.claimed)])
    low, high = sides.min(axis=0), sides.max(axis=0)
    for one, other in sorted(set(zip(low.tolist(), high.tolist(), strict=True))):
        unseen = np.isin(sides, (one, other)).any(axis=0)
        yield np.logical_not(unseen), np.logical_and(low == one, high == other)


def _judged(
    paths: Paths, folds: Sequence[tuple[Bool, Bool]], target_far: float, target_frr: float
) -> dict[str, _Outcome]:
    look_s = fixed_look_s(paths)
    names = (
        "boundaries",
        "their accept side as narrow as allowed, alone",
        f"one threshold, one look at {look_s:.1f} s",
        "that threshold, a look after every window",
    )
    found = {
        name: _Outcome(np.zeros(len(paths.caller), np.int8), np.zeros(len(paths.caller)))
        for name in names
    }
    for seen, left_out in folds:
        fitted, judged = paths.only(seen), paths.only(left_out)
        threshold = one_look_threshold(fitted, target_far)
        outcomes = (
            by_bounds(judged, learn(fitted, target_far, target_frr)),
            by_bounds(judged, _accepting(fitted, target_far)),
            _at_one_look(judged, threshold),
            _at_every_look(judged, threshold),
        )
        for name, outcome in zip(names, outcomes, strict=True):
            found[name].decided[left_out] = outcome.decided
            found[name].seconds[left_out] = outcome.seconds
    return found


def _accepting(fitted: Paths, target_far: float) -> Bounds:
    accept = accept_level(fitted.only(~fitted.target), target_far)
    return Bounds(accept, np.full(len(accept), -np.inf))


def by_bounds(paths: Paths, bounds: Bounds) -> _Outcome:
    """Decide paths by their first crossing; where a second has both, the wrong one counts."""
    accepts, rejects = paths.highest >= bounds.accept, paths.lowest < bounds.reject
    own = paths.target[:, None]
    return _first(paths, accepts & ~(rejects & own), rejects & (own | ~accepts))


def fixed_look_s(paths: Paths) -> float:
    """Give the mean net speech at each path's first look from FIXED_S on, or at its last one."""
    return float(_at_fixed(paths, paths.seconds).mean())


def one_look_threshold(paths: Paths, target_far: float) -> float:
    """Give the smallest threshold at which no more impostors than wanted are accepted at one look.

    As usual: the look is that of `fixed_look_s`, and each path weighs the same.
    """
    impostors = paths.only(~paths.target)
    scores = np.sort(_at_fixed(impostors, impostors.highest))[::-1]
    allowed = math.floor(target_far * len(scores) + 1e-9)
    above = scores[scores > scores[min(allowed, len(scores) - 1)]]
    return float(above[-1]) if above.size else float(np.nextafter(scores[0], np.inf))


def _at_fixed(paths: Paths, values: Float64) -> Float64:
    """Give float64[n] of float64[n, S], at each path's own look of `fixed_look_s`."""
    late, looked = paths.seconds >= FIXED_S - 0.5, ~np.isnan(paths.seconds)
    last = looked.shape[1] - 1 - looked[:, ::-1].argmax(axis=1)
    column = np.where(late.any(axis=1), late.argmax(axis=1), last)
    chosen: Float64 = values[np.arange(len(column)), column]
    return chosen


def _at_one_look(paths: Paths, threshold: float) -> _Outcome:
    accepted = _at_fixed(paths, paths.highest) >= threshold
    decided = np.where(accepted, ACCEPTED, REJECTED).astype(np.int8)
    return _Outcome(decided, _at_fixed(paths, paths.seconds))


def _at_every_look(paths: Paths, threshold: float) -> _Outcome:
    """Accept at the first look that reaches the threshold, and reject at the end."""
    outcome = _first(paths, paths.highest >= threshold, np.zeros(paths.highest.shape, np.bool_))
    decided = np.where(outcome.decided == NEVER, REJECTED, outcome.decided)
    return _Outcome(decided.astype(np.int8), outcome.seconds)


def _first(paths: Paths, accepts: Bool, rejects: Bool) -> _Outcome:
    crossed = accepts | rejects
    ever, column = crossed.any(axis=1), crossed.argmax(axis=1)
    rows = np.arange(len(column))
    decided = np.where(rejects[rows, column], REJECTED, ACCEPTED)
    longest = np.full(len(rows), float(paths.highest.shape[1]))
    seconds = np.where(ever, paths.seconds[rows, column], longest)
    return _Outcome(np.where(ever, decided, NEVER).astype(np.int8), seconds)


def _way(name: str, paths: Paths, outcome: _Outcome, *, draws: int, seed: int) -> Way:
    target = paths.target
    accepted, rejected = outcome.decided == ACCEPTED, outcome.decided == REJECTED
    drawn: tuple[list[float], list[float]] = ([], [])
    for weights in bootstrap_weights(paths.caller, paths.claimed, draws, seed):
        other, same = weights[~target], weights[target]
        drawn[0].append(float(other @ accepted[~target] / other.sum()))
        drawn[1].append(float(same @ rejected[target] / same.sum()))
    own = outcome.seconds[target]
    return Way(
        name=name,
        ever_accepted=_rate(accepted[~target], drawn[0], _pairs(paths)),
        ever_rejected=_rate(rejected[target], drawn[1], len(set(paths.caller))),
        undecided=float((outcome.decided[target] == NEVER).mean()),
        seconds_mean=float(own.mean()),
        seconds_p90=float(np.quantile(own, 0.9, method="higher")),
        impostor_seconds_mean=float(outcome.seconds[~target].mean()),
    )


def _rate(wrong: Bool, drawn: Sequence[float], independent: int) -> Rate:
    share = float(wrong.mean())
    exact = exact_interval(math.ceil(share * independent - 1e-9), independent)
    return Rate(share, widest(interval(drawn), exact))
