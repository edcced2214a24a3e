"""How far an error rate could have come out otherwise: bootstrap over speakers, not trials.

Trials share speakers, so trials drawn one by one would look far more certain than they are.
Persons are drawn with replacement instead; a trial counts as often as both of its persons were
drawn. Source: Bolle, Ratha and Pankanti, "Error analysis of pattern recognition systems: the
subsets bootstrap", Computer Vision and Image Understanding 93 (2004).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import ExtraMissing, TooFewTrials

Float64 = NDArray[np.float64]

LEAST_SPEAKERS = 5
"""Persons below which draws of them say nothing about others."""


class Interval(NamedTuple):
    """A range that holds the true value with the level's probability."""

    low: float
    """In the unit of the values."""
    high: float
    """In the unit of the values, at least low."""


def bootstrap_weights(
    enroll_speaker: Sequence[str], test_speaker: Sequence[str], draws: int, seed: int
) -> Iterator[Float64]:
    """Give, for each draw of as many persons as there are, how often each trial counts.

    A target trial counts as often as its person was drawn, another one the product of both
    persons' counts. Draws without target or without non-target trials are drawn again.

    Args:
        enroll_speaker: Person of each trial's enrolled side; the same as the tested side's in a
            target trial, another in every other.
        test_speaker: Person of each trial's tested side.
        draws: How many draws are given.
        seed: The same seed gives the same draws.

    Yields:
        float64[n] of whole numbers.

    Raises:
        TooFewTrials: Target or non-target trials are missing altogether.
    """
    names, indices = np.unique([*enroll_speaker, *test_speaker], return_inverse=True)
    enroll, test = np.split(indices.reshape(-1), 2)
    target = enroll == test
    if target.all() or not target.any():
        raise TooFewTrials("a bootstrap", 0, 1, "target and non-target trials each")
    return _draws(names.size, enroll, test, draws, np.random.default_rng(seed))


def _draws(
    persons: int,
    enroll: NDArray[np.intp],
    test: NDArray[np.intp],
    draws: int,
    generator: np.random.Generator,
) -> Iterator[Float64]:
    target = enroll == test
    shares = np.full(persons, 1 / persons)
    given = 0
    while given < draws:
        counts = generator.multinomial(persons, shares).astype(np.float64)
        weights = np.where(target, counts[enroll], counts[enroll] * counts[test])
        if weights[target].any() and weights[~target].any():
            given += 1
            yield weights


def interval(values: Sequence[float] | Float64, level: float = 0.95) -> Interval:
    """Give the range between the percentiles that leave out (1 - level) / 2 on either side."""
    low, high = np.quantile(np.asarray(values, np.float64), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def exact_interval(errors: int, trials: int) -> Interval:
    """Give the 95 % interval of Clopper and Pearson (Biometrika 26, 1934) of a rate.

    Raises ExtraMissing where scipy is not installed.
    """
    try:
        from scipy.special import betaincinv
    except ModuleNotFoundError as error:
        raise ExtraMissing("evaluate", "scipy") from error
    low = betaincinv(errors, trials - errors + 1, 0.025) if errors else 0.0
    high = betaincinv(errors + 1, trials - errors, 0.975) if errors < trials else 1.0
    return Interval(float(low), float(high))


def widest(one: Interval, other: Interval) -> Interval:
    """Give the range that holds both."""
    return Interval(min(one.low, other.low), max(one.high, other.high))
