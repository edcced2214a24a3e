"""Adaptive score normalisation against a cohort of impostors (AS-norm), both sides.

Source: Matejka et al., "Analysis of Score Normalization in Multilingual Speaker Recognition",
Interspeech 2017 (AS-norm1), with the cosine as the score, as WeSpeaker applies it. S-norm is the
same with every cohort embedding among the top N.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import CohortTooSmall, CohortWithoutSpread

_LEAST_SPREAD = 1e-6
"""Standard deviations of cosines below this are float32's rounding, not differences."""
_ROWS_AT_ONCE = 4096
"""Embeddings whose cosines to the whole cohort are held at one time."""

Floats = NDArray[np.floating[Any]]
Numbers = TypeVar("Numbers", float, Floats)


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


def top_of_one(
    embedding: Floats, directions: NDArray[np.float64], top_n: int
) -> tuple[float, float] | None:
    """Do as `top_statistics` for one embedding, many times as fast; None: nothing to divide by.

    Args:
        embedding: [dim], of any length.
        directions: float64[m, dim], each of length 1.
        top_n: 2 to m.

    Returns:
        Mean and standard deviation; None where the embedding has no direction, or the top_n are
        all equally alike to it.
    """
    exact = embedding.astype(np.float64)
    length = math.sqrt(np.vdot(exact, exact))
    if not length:
        return None
    highest = directions @ (exact / length)
    if top_n < len(highest):
        highest = np.partition(highest, -top_n)[-top_n:]
    mean = float(highest.sum()) / top_n
    around = highest - mean
    deviation = math.sqrt(np.vdot(around, around) / top_n)
    return (mean, deviation) if deviation >= _LEAST_SPREAD else None


def as_norm(
    score: Numbers, enrol_mean: Numbers, enrol_std: Numbers, test_mean: Numbers, test_std: Numbers
) -> Numbers:
    """Give the normalised scores: the mean of those by the enrolled and by the tested side.

    Args:
        score: Cosines [n]; or all are of one comparison, as plain numbers.
        enrol_mean: Mean of each enrolled side's top cosines [n].
        enrol_std: Their standard deviation, positive.
        test_mean: The same of the tested side.
        test_std: The same of the tested side.

    Returns:
        [n] on the asnorm scale, in standard deviations of impostor scores.
    """
    return 0.5 * ((score - enrol_mean) / enrol_std + (score - test_mean) / test_std)


def _of_length_one(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.sqrt(np.sum(vectors**2, axis=1, keepdims=True))
    return unit
