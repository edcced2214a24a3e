from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ScaleUnavailable
from speakerd_server.score.similarity import SCALE_RANGES, cosine, on_scale
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
    assert on_scale(value, ScoreScale.COSINE) == value
    assert on_scale(value, ScoreScale.SIMILARITY) == (value + 1) / 2
    for scale, (lowest, highest) in SCALE_RANGES.items():
        assert lowest <= on_scale(value, scale) <= highest


@given(COSINES, COSINES)
def test_higher_is_more_alike_on_every_scale(one: float, other: float) -> None:
    for scale in SCALE_RANGES:
        low, high = (on_scale(value, scale) for value in sorted([one, other]))
        assert low <= high


@pytest.mark.parametrize("scale", [ScoreScale.ASNORM, ScoreScale.LLR])
def test_scales_that_need_a_cohort_or_calibration_are_refused_by_name(scale: ScoreScale) -> None:
    with pytest.raises(ScaleUnavailable, match=scale.value):
        on_scale(0.5, scale)
