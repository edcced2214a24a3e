from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import CohortTooSmall, CohortWithoutSpread
from speakerd_server.score.asnorm import as_norm, top_statistics

ACROSS = np.array([[1.0, 0.0]])
COHORT = np.array([[3.0, 4.0], [4.0, 3.0], [0.0, 2.0], [-1.0, 0.0]])
"""Cosines to ACROSS: 0.6, 0.8, 0, -1."""


@pytest.mark.parametrize(
    ("top_n", "mean", "deviation"),
    [(2, 0.7, 0.1), (3, 1.4 / 3, np.std([0.6, 0.8, 0.0])), (4, 0.1, np.std([0.6, 0.8, 0.0, -1.0]))],
)
def test_the_highest_cosines_are_averaged(top_n: int, mean: float, deviation: float) -> None:
    means, deviations = top_statistics(5 * ACROSS, COHORT, top_n)
    assert means == pytest.approx([mean])
    assert deviations == pytest.approx([deviation])


def test_a_score_is_normalised_by_both_sides() -> None:
    normalised = as_norm(
        np.array([0.5]), np.array([0.1]), np.array([0.2]), np.array([0.3]), np.array([0.1])
    )
    assert normalised == pytest.approx([0.5 * (0.4 / 0.2 + 0.2 / 0.1)])


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_every_embedding_is_compared_by_itself(seed: int, top_n: int) -> None:
    generator = np.random.default_rng(seed)
    cohort, embeddings = generator.standard_normal((40, 8)), generator.standard_normal((7, 8))
    means, deviations = top_statistics(embeddings, cohort, top_n)
    assert (deviations > 0).all()
    for row, one in enumerate(embeddings):
        cosines = cohort @ one / np.linalg.norm(cohort, axis=1) / np.linalg.norm(one)
        highest = sorted(cosines, reverse=True)[:top_n]
        assert means[row] == pytest.approx(np.mean(highest), abs=1e-12)
        assert deviations[row] == pytest.approx(np.std(highest), abs=1e-12)


def test_more_embeddings_than_are_held_at_once_are_all_compared() -> None:
    generator = np.random.default_rng(0)
    embeddings, cohort = generator.standard_normal((9000, 4)), generator.standard_normal((5, 4))
    means, _ = top_statistics(embeddings, cohort, 3)
    alone, _ = top_statistics(embeddings[[0, 4095, 4096, 8999]], cohort, 3)
    assert means[[0, 4095, 4096, 8999]] == pytest.approx(alone, abs=1e-12)


def test_float32_stays_float32_as_in_the_peers_files() -> None:
    found = top_statistics(ACROSS.astype(np.float32), COHORT.astype(np.float32), 3)
    assert [one.dtype for one in found] == [np.float32, np.float32]


def test_a_cohort_smaller_than_n_is_refused_with_both_numbers() -> None:
    with pytest.raises(CohortTooSmall, match=r"4 embedding.*top N, 5") as refused:
        top_statistics(ACROSS, COHORT, 5)
    assert (refused.value.count, refused.value.top_n) == (4, 5)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_cohort_of_one_voice_is_refused_and_gives_no_nan(
    kind: type[np.float32] | type[np.float64],
) -> None:
    one = np.random.default_rng(1).standard_normal((1, 192))
    cohort: npt.NDArray[np.floating[Any]] = np.repeat(one, 9, axis=0).astype(kind)
    others = np.random.default_rng(2).standard_normal((3, 192))
    embeddings: npt.NDArray[np.floating[Any]] = others.astype(kind)
    with pytest.raises(CohortWithoutSpread, match="different speakers"):
        top_statistics(embeddings, cohort, 5)


def test_one_nearest_impostor_has_no_spread() -> None:
    with pytest.raises(CohortWithoutSpread, match="at least 2"):
        top_statistics(ACROSS, COHORT, 1)
