from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.score.similarity import SCALE_RANGES, cosine
from speakerd_server.values import ScoreScale

COSINES = st.floats(-1.0, 1.0)


@pytest.mark.parametrize(
    ("other", "expected"),
    [([6, 8], 1.0), ([-3, -4], -1.0), ([4, -3], 0.0), ([1, 0], 0.6), ([0, 0], 0.0)],
)
def test_the_cosine_is_the_textbooks(other: list[float], expected: float) -> None:
    assert cosine(np.array([3.0, 4.0]), np.array(other, np.float32)) == pytest.approx(expected)


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_the_cosine_ignores_length_and_order_and_never_leaves_its_range(
    seed: int, length: float
) -> None:
    one, other = np.random.default_rng(seed).standard_normal((2, 192))
    assert cosine(one, other) == cosine(other, one)
    assert cosine(one * length, other) == pytest.approx(cosine(one, other), abs=1e-12)
    assert 1 - 1e-12 < cosine(one, one * length) <= 1.0
    assert -1.0 <= cosine(one, -one * length) < -1 + 1e-12


@given(COSINES)
def test_scores_stay_in_the_range_of_their_scale(value: float) -> None:
    assert ScoreScale.COSINE.of_cosine(value) == value
    assert ScoreScale.SIMILARITY.of_cosine(value) == (value + 1) / 2
    for scale, (lowest, highest) in SCALE_RANGES.items():
        assert lowest <= (scale.of_cosine(value) or 0.0) <= highest


@given(COSINES, COSINES)
def test_higher_is_more_alike_on_every_scale(one: float, other: float) -> None:
    for scale in SCALE_RANGES:
        low, high = (scale.of_cosine(value) or 0.0 for value in sorted([one, other]))
        assert low <= high
