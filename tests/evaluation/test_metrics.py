from __future__ import annotations

import math
import sys

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import ExtraMissing
from speakerd_server.evaluation import metrics
from support import error_rates

Float64 = npt.NDArray[np.float64]
Case = tuple[Float64, npt.NDArray[np.bool_]]


def trials(targets: list[float], others: list[float]) -> Case:
    return np.array(targets + others, np.float64), np.arange(len(targets) + len(others)) < len(
        targets
    )


EIGHTHS = st.integers(-80, 80).map(lambda number: number / 8)
"""Ties are frequent, and sums of them are exact."""


@st.composite
def cases(draw: st.DrawFn) -> Case:
    some = st.lists(EIGHTHS, min_size=1, max_size=25)
    scores, target = trials(draw(some), draw(some))
    order = np.array(draw(st.permutations(range(scores.size))))
    return scores[order], target[order]


# Worked by hand. In order of score, n n n T n T T T: rejecting four of them misses 1 of 4 targets
# and accepts 1 of 4 others.
CROSSING = trials([2, 3, 4, 5], [-1, 0, 1, 2.5])
# n T n T T: from (1/3, 1/2) the next point is (1/3, 0).
UPRIGHT = trials([1, 3, 4], [0, 2])
# n {T n} T: from (0, 1/2) both change at once, to (1/2, 0); halfway is 1/4.
TIED = trials([1, 2], [0, 1])
APART = trials([0.8, 0.9], [0.1, 0.3])
ALL_TIED = trials([1, 1], [1])
UPSIDE_DOWN = trials([0], [1])


@pytest.mark.parametrize(
    ("case", "rate", "threshold"),
    [
        (CROSSING, 0.25, 2.25),
        (UPRIGHT, 1 / 3, 2.5),
        (TIED, 0.25, 1.5),
        (APART, 0.0, 0.55),
        (ALL_TIED, 0.5, math.nextafter(1, 2)),
        (UPSIDE_DOWN, 1.0, 0.5),
    ],
)
def test_equal_error_rates_worked_by_hand(case: Case, rate: float, threshold: float) -> None:
    found = metrics.equal_error_rate(*case)
    assert found.rate == pytest.approx(rate, abs=1e-15)
    assert found.threshold == pytest.approx(threshold, abs=1e-15)


def test_a_threshold_separates_what_can_be_separated() -> None:
    scores, target = APART
    assert ((scores >= metrics.equal_error_rate(scores, target).threshold) == target).all()


@pytest.mark.parametrize(
    ("case", "p_target", "c_miss", "c_fa", "cost"),
    [
        # (miss + fa) at 1/2: (0, 1/4) and (1/4, 0) are the best.
        (CROSSING, 0.5, 1, 1, 0.25),
        # miss + 99 fa: (1/4, 0).
        (CROSSING, 0.01, 1, 1, 0.25),
        # (0.1 miss + 0.099 fa) / 0.099: (0, 1/4).
        (CROSSING, 0.01, 10, 0.1, 0.25),
        # (0.9 miss + 0.1 fa) / 0.1: (0, 1/2).
        (UPRIGHT, 0.9, 1, 1, 0.5),
        (APART, 0.01, 1, 1, 0.0),
        (UPSIDE_DOWN, 0.3, 1, 1, 1.0),
        (UPSIDE_DOWN, 0.7, 1, 1, 1.0),
    ],
)
def test_minimum_costs_worked_by_hand(
    case: Case, p_target: float, c_miss: float, c_fa: float, cost: float
) -> None:
    found = metrics.minimum_cost(*case, p_target=p_target, c_miss=c_miss, c_fa=c_fa)
    assert found == pytest.approx(cost, abs=1e-12)


@pytest.mark.parametrize(
    ("p_target", "c_miss", "c_fa", "cost"),
    [
        # At 0: one target of two missed, one other of four accepted.
        (0.5, 1, 1, 0.75),
        # At ln 99 nothing is accepted.
        (0.01, 1, 1, 1.0),
        # At ln(0.2) = -1.6: none missed, one accepted: 0.25 / 1.
        (0.5, 5, 1, 0.25),
    ],
)
def test_actual_costs_worked_by_hand(
    p_target: float, c_miss: float, c_fa: float, cost: float
) -> None:
    case = trials([2, -1], [-2, 0.5, -3, -4])
    found = metrics.actual_cost(*case, p_target=p_target, c_miss=c_miss, c_fa=c_fa)
    assert found == pytest.approx(cost)


@pytest.mark.parametrize(
    ("case", "bits"),
    [
        (trials([0, 0], [0]), 1.0),
        (trials([math.log(3)], [-math.log(3)]), math.log2(4 / 3)),
        (trials([math.inf], [-math.inf]), 0.0),
        (trials([math.log(3), 0], [0]), (math.log2(4 / 3) / 2 + 1 / 2 + 1) / 2),
        (trials([-2000], [-2000]), 2000 / math.log(2) / 2),
    ],
)
def test_cllr_worked_by_hand(case: Case, bits: float) -> None:
    assert metrics.cllr(*case) == pytest.approx(bits)


@pytest.mark.parametrize(
    ("case", "bits"),
    [
        # n T n T: the two in the middle are pooled to a ratio of 1, the ends are certain.
        (trials([1, 3], [0, 2]), 0.5),
        (APART, 0.0),
        (UPSIDE_DOWN, 1.0),
        (ALL_TIED, 1.0),
        # T in a tie with n, prior odds 1: (log2(2) / 2 + log2(2) / 2) / 2.
        (TIED, 0.5),
        # n {T T n}: share 2/3, prior odds 1, so the ratio is 2 for both of the tie.
        (trials([1, 1], [0, 1]), (math.log2(3 / 2) + math.log2(3) / 2) / 2),
    ],
)
def test_least_cllr_worked_by_hand(case: Case, bits: float) -> None:
    assert metrics.minimum_cllr(*case) == pytest.approx(bits)


@given(cases())
def test_the_equal_error_rate_is_that_of_another_implementation(case: Case) -> None:
    scores, target = case
    other = error_rates.equal_error_rate(scores[target], scores[~target])
    assert metrics.equal_error_rate(scores, target).rate == pytest.approx(other, abs=1e-12)


@given(cases(), st.sampled_from([0.01, 0.3, 0.5, 0.9]))
def test_no_threshold_costs_less_than_the_minimum(case: Case, p_target: float) -> None:
    scores, target = case
    costs = []
    for threshold in [*scores, scores.max() + 1]:
        miss = np.mean(scores[target] < threshold)
        accepted = np.mean(scores[~target] >= threshold)
        cost = p_target * miss + (1 - p_target) * accepted
        costs.append(cost / min(p_target, 1 - p_target))
    found = metrics.minimum_cost(scores, target, p_target=p_target)
    assert found == pytest.approx(min(costs), abs=1e-9)
    assert found <= 1 + 1e-12


def every_number(
    scores: Float64, target: npt.NDArray[np.bool_], weights: Float64 | None
) -> list[float]:
    return [
        metrics.equal_error_rate(scores, target, weights).rate,
        metrics.minimum_cost(scores, target, weights, p_target=0.1, c_miss=2),
        metrics.actual_cost(scores, target, weights, p_target=0.1, c_miss=2),
        metrics.cllr(scores, target, weights),
        metrics.minimum_cllr(scores, target, weights),
    ]


@given(cases(), st.sampled_from([0.25, 2.0, 64.0]), st.integers(-9, 9))
def test_a_rising_line_changes_nothing_but_calibration(
    case: Case, slope: float, offset: int
) -> None:
    scores, target = case
    before, after = (every_number(one, target, None) for one in (scores, slope * scores + offset))
    for at in (0, 1, 4):
        assert after[at] == pytest.approx(before[at], abs=1e-12)


@given(cases(), st.data())
def test_whole_weights_count_as_repetition_and_order_does_not(
    case: Case, data: st.DataObject
) -> None:
    scores, target = case
    counts = np.array(
        data.draw(st.lists(st.integers(0, 4), min_size=scores.size, max_size=scores.size))
    )
    counts[[np.argmax(target), np.argmin(target)]] = 1
    weighted = every_number(scores, target, counts.astype(np.float64))
    repeated = every_number(np.repeat(scores, counts), np.repeat(target, counts), None)
    assert weighted == pytest.approx(repeated, abs=1e-9)
    ones = every_number(scores, target, np.ones(scores.size))
    backwards = every_number(scores[::-1].copy(), target[::-1].copy(), None)
    assert ones == pytest.approx(every_number(scores, target, None), abs=1e-12)
    assert ones == pytest.approx(backwards, abs=1e-12)


@given(cases(), st.floats(0.01, 0.99))
def test_the_best_calibration_costs_no_more_than_any_other(case: Case, p_target: float) -> None:
    llrs, target = case
    assert metrics.minimum_cllr(llrs, target) <= min(metrics.cllr(llrs, target), 1) + 1e-9
    actual = metrics.actual_cost(llrs, target, p_target=p_target)
    assert metrics.minimum_cost(llrs, target, p_target=p_target) <= actual + 1e-9


@given(cases())
def test_every_point_is_made_by_its_threshold(case: Case) -> None:
    scores, target = case
    trials_in_order = metrics.RatesInOrder(scores, target)
    miss, false_accept = trials_in_order.rates()
    assert miss.size == np.unique(scores).size + 1
    for point in range(miss.size):
        accepted = scores >= trials_in_order.threshold(point)
        assert miss[point] == pytest.approx(np.mean(~accepted[target]))
        assert false_accept[point] == pytest.approx(np.mean(accepted[~target]))


def test_a_missing_scipy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ExtraMissing, match=r"scipy.*speakerd-server\[evaluate\]"):
        metrics.minimum_cllr(*APART)
