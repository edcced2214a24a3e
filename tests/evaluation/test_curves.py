from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakerd_server.evaluation.curves import MOST_POINTS, histograms, probit, rate_curves
from speakerd_server.evaluation.metrics import Bool, Float64
from support.scored import wespeaker_scores

SCORES = np.array([0.1, 0.2, 0.7, 0.75, 0.8])
TARGET = np.array([False, False, True, False, True])

trials = st.lists(st.tuples(st.floats(-5, 5), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({kind for _, kind in rows}) == 2
)


def rates(scores: Float64, target: Bool, threshold: float) -> tuple[float, float]:
    accepted = scores >= threshold
    return float(accepted[~target].mean()), float((~accepted[target]).mean())


def test_five_trials_by_hand() -> None:
    curves = rate_curves(SCORES, TARGET)
    np.testing.assert_allclose(curves.thresholds, [0.1, 0.2, 0.7, 0.75, 0.8, 0.8])
    np.testing.assert_allclose(curves.far, [1, 2 / 3, 1 / 3, 1 / 3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(curves.frr, [0, 0, 0, 0.5, 0.5, 1])
    assert curves.thresholds[-1] > 0.8
    assert (curves.targets, curves.impostors) == (2, 3)
    assert (curves.far_floor, curves.frr_floor) == (0.5 / 3, 0.25)


@given(trials)
def test_every_point_is_what_its_threshold_gives(rows: list[tuple[float, bool]]) -> None:
    scores, target = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    curves = rate_curves(scores, target)
    for threshold, far, frr in zip(curves.thresholds, curves.far, curves.frr, strict=True):
        assert rates(scores, target, threshold) == pytest.approx((far, frr))


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(3, 200))
def test_thinning_keeps_the_ends_and_true_points(seed: int, points: int) -> None:
    generator = np.random.default_rng(seed)
    target = np.arange(2000) < 300
    scores = generator.standard_normal(2000) + 2 * target
    curves = rate_curves(scores, target, points)
    assert len(curves.far) <= points + 1
    assert (curves.far[0], curves.frr[0]) == (1.0, 0.0)
    assert (curves.far[-1], curves.frr[-1]) == (0.0, 1.0)
    assert (np.diff(curves.far) <= 0).all()
    assert (np.diff(curves.frr) >= 0).all()
    at = len(curves.far) // 2
    found = rates(scores, target, curves.thresholds[at])
    assert found == pytest.approx((curves.far[at], curves.frr[at]))


def test_a_long_list_makes_no_longer_curve() -> None:
    given = wespeaker_scores("raw")
    assert len(np.unique(given.scores)) > MOST_POINTS
    assert len(rate_curves(given.scores, given.trials.target).far) <= MOST_POINTS + 1


@given(trials)
@example([(0.0, True), (0.0, True), (3.0, False), (2.2250738585072014e-308, True)])
@example([(0.0, True), (0.0, True), (3.0, False), (5e-324, True)])
def test_each_kind_of_a_histogram_adds_up_to_one(rows: list[tuple[float, bool]]) -> None:
    scores, target = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    spread = histograms(scores, target)
    assert 15 <= len(spread.targets) == len(spread.impostors) == len(spread.edges) - 1 <= 60
    assert spread.targets.sum() == pytest.approx(1)
    assert spread.impostors.sum() == pytest.approx(1)
    assert (np.diff(spread.edges) > 0).all()


def test_probit_has_no_infinity() -> None:
    deviates = probit(np.array([0.0, 0.5, 1.0, 0.158655254]), 0.01)
    np.testing.assert_allclose(deviates, [-2.3263479, 0.0, 2.3263479, -1.0], atol=1e-6)
