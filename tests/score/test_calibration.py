from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import DurationsMissing
from speakerd_server.score.calibration import llr_of, llrs_of, log_durations
from speakerd_server.values import ScoreScale

PLAIN = LlrCalibration(
    profile="telephone",
    scale=ScoreScale.COSINE,
    offset=-7.0,
    slope=25.0,
    shorter=0.0,
    longer=0.0,
    speakers=6,
    cllr_before=0.8,
    cllr_after=0.2,
    trials="made",
)
WITH_DURATIONS = replace(PLAIN, shorter=-3.0, longer=0.5)

seconds = st.floats(0.01, 3600)


def test_a_score_becomes_offset_plus_slope_times_score() -> None:
    assert llr_of(PLAIN, 0.4, 2.0, 3.0) == pytest.approx(3.0)


def test_durations_enter_as_logarithms_of_the_shorter_and_the_longer_side() -> None:
    expected = 3.0 - 3.0 * math.log(2.0) + 0.5 * math.log(8.0)
    assert llr_of(WITH_DURATIONS, 0.4, 2.0, 8.0) == pytest.approx(expected)


@given(st.floats(-1, 1), seconds, seconds)
def test_the_order_of_the_sides_does_not_matter(score: float, first: float, second: float) -> None:
    one = llr_of(WITH_DURATIONS, score, first, second)
    assert one == llr_of(WITH_DURATIONS, score, second, first)


@given(st.lists(st.tuples(st.floats(-1, 1), seconds, seconds), min_size=1, max_size=20))
def test_many_scores_become_what_each_becomes_alone(rows: list[tuple[float, float, float]]) -> None:
    scores, first, second = np.array(rows).T
    together = llrs_of(WITH_DURATIONS, scores, first, second)
    assert together.dtype == np.float64
    np.testing.assert_allclose(
        together, [llr_of(WITH_DURATIONS, *row) for row in rows], rtol=1e-12, atol=1e-9
    )


def test_durations_are_not_asked_for_where_none_were_fitted() -> None:
    assert llrs_of(PLAIN, np.array([0.28, 0.32])) == pytest.approx([0.0, 1.0])
    assert llr_of(PLAIN, 0.28, 0.0, math.nan) == pytest.approx(0.0)


@pytest.mark.parametrize("missing", [0.0, -1.0, math.nan, math.inf])
def test_a_duration_that_is_no_time_is_refused_by_name(missing: float) -> None:
    with pytest.raises(DurationsMissing, match="telephone"):
        llr_of(WITH_DURATIONS, 0.4, 2.0, missing)


def test_durations_that_are_not_there_are_refused_with_what_to_do() -> None:
    with pytest.raises(DurationsMissing, match="--wav-scp") as refusal:
        llrs_of(WITH_DURATIONS, np.array([0.4]))
    assert refusal.value.found_s is None


@given(st.floats(-1, 1), seconds, seconds)
def test_seconds_that_no_trial_of_the_fit_had_count_as_the_nearest_it_had(
    score: float, first: float, second: float
) -> None:
    within = replace(WITH_DURATIONS, shortest_s=1.0, longest_s=30.0)
    inside = (min(max(one, 1.0), 30.0) for one in (first, second))
    expected = llr_of(WITH_DURATIONS, score, *inside)
    assert llr_of(within, score, first, second) == pytest.approx(expected)


def test_the_logarithms_are_sorted_in_each_trial() -> None:
    logs = log_durations("default", np.array([1.0, 8.0]), np.array([4.0, 2.0]))
    np.testing.assert_allclose(np.exp(logs), [[1.0, 4.0], [2.0, 8.0]])
