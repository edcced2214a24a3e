"""Adaptive score normalisation against a cohort of impostors (AS-norm), both sides.

Source: Matejka et al., "Analysis of Score Normalization in Multilingual Speaker Recognition",
Interspeech 2017 (AS-norm1), with the cosine as the score, as WeSpeaker applies it. S-norm is the
same with every cohort embedding among the top N.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import CohortTooSmall, CohortWithoutSpread

_LEAST_SPREAD = 1e-6
"""Standard deviations of cosines below this are float32's rounding, not differences."""
_ROWS_AT_ONCE = 4096
"""Embeddings whose cosines to the whole cohort are held at one time."""

Floats = NDArray[np.floating[Any]]


def top_statistics(embeddings: Floats, cohort: Floats, top_n: int) -> tuple[Floats, Floats]:
    """Give the mean and the standard deviation of each embedding's top_n cosines to the cohort.

    Args:
        embeddings: float32[n, dim] or float64[n, dim], of any length but 0.
        cohort: [m, dim] of the same precision, of any length but 0.
        top_n: How many of the most alike are taken, 2 or more.

    Returns:
        mean[n] and std[n] on the cosine scale, in the precision of `embeddings`; the standard
        deviation is the population's, and positive.

    Raises:
        CohortTooSmall: The cohort has fewer than top_n embeddings.
        CohortWithoutSpread: The top_n of an embedding are all equally alike to it.
    """
    if len(cohort) < top_n:
        raise CohortTooSmall(len(cohort), top_n)
    directions = _of_length_one(cohort)
    means, deviations = np.empty((2, len(embeddings)), embeddings.dtype)
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        cosines = _of_length_one(embeddings[rows]) @ directions.T
        # Highest first, since the order of a float32 sum shows in the printed digits.
        highest = np.sort(np.partition(cosines, -top_n, axis=1)[:, -top_n:], axis=1)[:, ::-1]
        means[rows], deviations[rows] = highest.mean(axis=1), highest.std(axis=1)
    if not np.all(deviations >= _LEAST_SPREAD):
        raise CohortWithoutSpread(top_n)
    return means, deviations


def as_norm(
    score: Floats, enrol_mean: Floats, enrol_std: Floats, test_mean: Floats, test_std: Floats
) -> Floats:
    """Give the normalised scores: the mean of those by the enrolled and by the tested side.

    Args:
        score: Cosines [n].
        enrol_mean: Mean of each enrolled side's top cosines [n].
        enrol_std: Their standard deviation, positive.
        test_mean: The same of the tested side.
        test_std: The same of the tested side.

    Returns:
        [n] on the asnorm scale, in standard deviations of impostor scores.
    """
    normalised: Floats = 0.5 * ((score - enrol_mean) / enrol_std + (score - test_mean) / test_std)
    return normalised


def _of_length_one(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.sqrt(np.sum(vectors**2, axis=1, keepdims=True))
    return unit
