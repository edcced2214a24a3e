"""Suggests the threshold for a wanted false-accept rate, and refuses where the trials do not say.

Two rules decide whether they do. The rule of three (Hanley and Lippman-Hand, JAMA 249, 1983): of
fewer than 3/p impostor pairs, none above the threshold would still leave a rate above p possible;
and the pairs must be of enough different persons, since pairs of the same two persons are much
alike. That is the least. Doddington's rule of 30 (Speech Communication 31, 2000) wants 30 false
accepts at the threshold before a rate can be called measured; `Suggestion.measured` tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import OptionInvalid, TooFewTrials
from speakerd_server.evaluation.bootstrap import (
    Interval,
    bootstrap_weights,
    exact_interval,
    interval,
    widest,
)

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

LEAST_SPEAKER_PAIRS = 10
"""Different pairs of persons that impostor trials must be of: five persons, all against all."""
FALSE_ACCEPTS_OF_A_MEASURED_RATE = 30
"""Doddington's rule."""

_DECIMALS = 5
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A threshold and what stands behind it; rates in [0, 1], intervals of 95 %."""

    target_far: float
    """The false-accept rate that was asked for."""
    threshold: float
    """On the scale of the scores, rounded up to five decimals: accept at it or above."""
    threshold_interval: Interval
    """Of the threshold for the same rate, by bootstrap over speakers."""
    far: float
    """Impostor pairs at or above the threshold, at most target_far."""
    far_interval: Interval
    """By bootstrap over speakers, never narrower than if every pair were of two other persons."""
    frr: float
    """Genuine pairs below the threshold."""
    frr_interval: Interval
    """As far_interval."""
    impostor_pairs: int
    """Trials of two persons."""
    impostor_speaker_pairs: int
    """Different pairs of persons among them."""
    genuine_pairs: int
    """Trials of one person."""
    genuine_speakers: int
    """Persons among them."""

    @property
    def measured(self) -> bool:
        """Whether Doddington's rule of 30 holds; else the rate is an indication."""
        return self.false_accepts >= FALSE_ACCEPTS_OF_A_MEASURED_RATE

    @property
    def false_accepts(self) -> int:
        """Impostor pairs at or above the threshold: where scores are tied, fewer than wanted."""
        return round(self.far * self.impostor_pairs)

    @property
    def smallest_far(self) -> float:
        """The smallest false-accept rate that so many impostor pairs can support."""
        return smallest_far(self.impostor_pairs)


def smallest_far(impostor_pairs: int) -> float:
    """Give the smallest false-accept rate that so many impostor pairs support: 3/n, at most 1."""
    return min(1.0, 3.0 / max(impostor_pairs, 3))


def suggest(
    scores: Float64,
    target: Bool,
    enroll_speaker: Sequence[str],
    test_speaker: Sequence[str],
    target_far: float,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Suggestion:
    """Suggest the smallest threshold whose measured false-accept rate is at most `target_far`.

    It is an impostor's score or just above one, never a place between two that the trials know
    nothing of, rounded up.

    Args:
        scores: float64[n] on any scale, higher for more alike.
        target: bool[n]: both sides are of one person; both kinds occur.
        enroll_speaker: n persons of the first sides.
        test_speaker: n persons of the second sides.
        target_far: In ]0, 0.5].
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        OptionInvalid: `target_far` is out of its range.
        TooFewTrials: There are too few impostor pairs, or too few persons in them.
        ExtraMissing: scipy is not installed.
    """
    pairs = {tuple(sorted(sides)) for sides in zip(enroll_speaker, test_speaker, strict=True)}
    impostor_pairs = sum(first != second for first, second in pairs)
    impostors = int(np.count_nonzero(~target))
    check_enough(target_far, impostors, impostor_pairs)
    ranking = np.flatnonzero(~target)[np.argsort(-scores[~target], kind="stable")]
    ranked = scores[ranking]
    threshold = _rounded_up(_threshold(ranked, np.ones(impostors), target_far))
    accepted = scores >= threshold
    far, frr = float(accepted[~target].mean()), float((~accepted)[target].mean())
    drawn: list[list[float]] = [[], [], []]
    for weights in bootstrap_weights(enroll_speaker, test_speaker, draws, seed):
        other, same = weights[~target], weights[target]
        drawn[0].append(_threshold(ranked, weights[ranking], target_far))
        drawn[1].append(float(other @ accepted[~target] / other.sum()))
        drawn[2].append(float(same @ ~accepted[target] / same.sum()))
    genuine = int(np.count_nonzero(target))
    return Suggestion(
        target_far=target_far,
        threshold=threshold,
        threshold_interval=_around(threshold, interval(drawn[0])),
        far=far,
        far_interval=widest(interval(drawn[1]), exact_interval(round(far * impostors), impostors)),
        frr=frr,
        frr_interval=widest(interval(drawn[2]), exact_interval(round(frr * genuine), genuine)),
        impostor_pairs=impostors,
        impostor_speaker_pairs=impostor_pairs,
        genuine_pairs=genuine,
        genuine_speakers=sum(first == second for first, second in pairs),
    )


def check_enough(target_far: float, impostors: int, speaker_pairs: int | None = None) -> None:
    """Raise where so many impostor pairs cannot support a false-accept rate.

    Args:
        target_far: In ]0, 0.5].
        impostors: Trials of two persons.
        speaker_pairs: Different pairs of persons among them; None: not known yet.

    Raises:
        OptionInvalid: `target_far` is out of its range.
        TooFewTrials: There are too few.
    """
    if not 0.0 < target_far <= 0.5:
        raise OptionInvalid("--target-far", f"{target_far:g} is not above 0 and at most 0.5")
    needed = math.ceil(3.0 / target_far - _ROUNDING)
    what = f"a threshold for the false-accept rate {target_far:g}"
    if impostors < needed:
        supported = math.ceil(smallest_far(impostors) * 1e6 - _ROUNDING) / 1e6
        what += f" (so many trials support {supported:g} and above)"
        raise TooFewTrials(what, impostors, needed, "impostor pairs")
    if speaker_pairs is not None and speaker_pairs < LEAST_SPEAKER_PAIRS:
        of = "different pairs of speakers among the impostor pairs"
        raise TooFewTrials(what, speaker_pairs, LEAST_SPEAKER_PAIRS, of)


def _threshold(ranked: Float64, weights: Float64, target_far: float) -> float:
    """Give the smallest impostor score that at most `target_far` of the weight reaches.

    Args:
        ranked: float64[n], highest first.
        weights: float64[n], some above 0.
        target_far: Where even the highest score has more weight, the next number above it is given.
    """
    drawn = weights > 0
    scores, reached = ranked[drawn], np.cumsum(weights[drawn])
    last_of_its_score = np.append(scores[1:] != scores[:-1], True)
    fits = last_of_its_score & (reached <= target_far * reached[-1] + _ROUNDING)
    if not fits.any():
        return float(np.nextafter(scores[0], np.inf))
    return float(scores[fits][-1])


def _rounded_up(threshold: float) -> float:
    """Round to five decimals, never down: a threshold copied from a report keeps its promise."""
    nearest = round(threshold, _DECIMALS)
    if nearest >= threshold:
        return nearest
    return round(nearest + 10.0**-_DECIMALS, _DECIMALS)


def _around(value: float, found: Interval) -> Interval:
    """Give an interval that holds the value, which rounding may have put outside."""
    return Interval(min(found.low, value), max(found.high, value))
