"""Scores of trials, with WeSpeaker's arithmetic, so that its score files are met to the digit.

WeSpeaker (wespeaker/bin/score.py and score_norm.py) works in the precision of the embeddings and
of the mean, mostly float32, and reads the cosines back from the score file before it normalises
them. So do we: every score is the number that stands in the file, rounded to five decimals.
float32 sums depend on the processor's matrix kernels; expect the last digit of one line in a
hundred to differ between two kinds of processor, with WeSpeaker as with speakerd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.evaluation.embeddings import Embeddings
from speakerd_server.evaluation.trials import Trials
from speakerd_server.score.asnorm import as_norm, top_statistics
from speakerd_server.values import ScoreScale

Floats = NDArray[np.floating[Any]]

_TRIALS_AT_ONCE = 16_384
"""Pairs of embeddings that are gathered at one time."""


@dataclass(frozen=True, slots=True, eq=False)
class SideStatistics:
    """What WeSpeaker's AS-norm file tells of each side of n trials."""

    enroll_length: Floats
    """[n]: Euclidean length of the enrolled embedding, its mean taken off."""
    test_length: Floats
    """[n]: the same of the tested embedding."""
    enroll_mean: Floats
    """[n]: mean of the enrolled side's top cosines to the cohort."""
    test_mean: Floats
    """[n]: the same of the tested side."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Scores of n trials on one scale."""

    scale: ScoreScale
    """COSINE or ASNORM."""
    texts: Sequence[str]
    """n scores with five decimals, as in the score file."""
    scores: NDArray[np.float64]
    """float64[n]: the numbers of `texts`."""
    sides: SideStatistics | None = None
    """With ASNORM."""


def score_trials(trials: Trials, embeddings: Embeddings) -> Scored:
    """Give the cosine of each trial's two embeddings, which `centred` has checked."""
    values = embeddings.values
    directions = values / np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]
    enroll, test = _rows(trials, embeddings)
    cosines = np.empty(len(trials), values.dtype)
    for start in range(0, len(trials), _TRIALS_AT_ONCE):
        part = slice(start, start + _TRIALS_AT_ONCE)
        cosines[part] = np.vecdot(directions[enroll[part]], directions[test[part]])
    return _as_printed(ScoreScale.COSINE, cosines)


def normalise(
    trials: Trials, scored: Scored, embeddings: Embeddings, cohort: Embeddings, top_n: int
) -> Scored:
    """Normalise cosines against a cohort (AS-norm; S-norm where top_n is the cohort's size).

    Args:
        trials: The pairs.
        scored: Their cosines.
        embeddings: Of both sides, `centred`.
        cohort: Embeddings of other persons, centred by the same mean.
        top_n: How many of the most alike of the cohort are taken, 2 or more.

    Raises:
        CohortTooSmall: The cohort has fewer than top_n embeddings.
        CohortWithoutSpread: The top_n of an embedding are all equally alike to it.
    """
    means, deviations = top_statistics(embeddings.values, cohort.values, top_n)
    lengths = np.array([np.linalg.norm(one) for one in embeddings.values])
    enroll, test = _rows(trials, embeddings)
    cosines = scored.scores.astype(means.dtype)
    scores = as_norm(cosines, means[enroll], deviations[enroll], means[test], deviations[test])
    sides = SideStatistics(lengths[enroll], lengths[test], means[enroll], means[test])
    return _as_printed(ScoreScale.ASNORM, scores, sides)


def _rows(trials: Trials, embeddings: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the row of each trial's embeddings."""
    row = embeddings.row
    count = len(trials)
    return (
        np.fromiter((row[one] for one in trials.enroll), np.int64, count),
        np.fromiter((row[one] for one in trials.test), np.int64, count),
    )


def _as_printed(scale: ScoreScale, exact: Floats, sides: SideStatistics | None = None) -> Scored:
    texts = [f"{score:.5f}" for score in exact.tolist()]
    return Scored(scale, texts, np.array(texts, np.float64), sides)
