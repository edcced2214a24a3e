from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from speakerd_server.errors import TooFewTrials
from speakerd_server.evaluation.boundaries import Bounds
from speakerd_server.evaluation.score_paths import Paths
from speakerd_server.evaluation.sequential import (
    ACCEPTED,
    NEVER,
    REJECTED,
    Learnt,
    by_bounds,
    fixed_look_s,
    measure,
    one_look_threshold,
)
from support.score_paths import paths

NAN = float("nan")
FAR = 0.05


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    return measure(paths(persons=8, cohort=100), FAR, 0.1, draws=100)


def hand_made(*rows: list[float]) -> Paths:
    scores = np.array(rows)
    at = np.where(np.isnan(scores), NAN, np.arange(scores.shape[1]) + 0.98)
    names = tuple("a" for _ in rows)
    return Paths(scores, scores.copy(), at, names, names)


def test_the_first_crossing_decides_a_path_at_its_second() -> None:
    bounds = Bounds(np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.2, 0.3]))
    outcome = by_bounds(
        hand_made([NAN, 0.8, 0.0], [0.05, 0.9, 0.9], [0.5, 0.5, 0.5], [NAN, 0.5, 0.29]), bounds
    )
    assert outcome.decided.tolist() == [ACCEPTED, REJECTED, NEVER, REJECTED]
    assert outcome.seconds == pytest.approx([1.98, 0.98, 3.0, 2.98])


def test_where_a_second_has_both_crossings_the_wrong_one_counts() -> None:
    bounds = Bounds(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    high, low, at = (
        np.array([[0.6, 0.6]] * 2),
        np.array([[0.4, 0.6]] * 2),
        np.array([[0.9, 1.9]] * 2),
    )
    outcome = by_bounds(Paths(high, low, at, ("a", "a"), ("a", "b")), bounds)
    assert outcome.decided.tolist() == [REJECTED, ACCEPTED]
    assert outcome.seconds.tolist() == [0.9, 0.9]


def test_the_one_look_is_each_paths_own_where_looks_do_not_fall_into_the_same_seconds() -> None:
    some = paths(persons=6, cohort=60)
    late = np.array([caller in ("p0", "p1") for caller in some.caller])[:, None]
    moved = Paths(
        np.where(late, np.roll(some.highest, 1, axis=1), some.highest),
        np.where(late, np.roll(some.lowest, 1, axis=1), some.lowest),
        np.where(late, np.roll(some.seconds, 1, axis=1) - 0.98, some.seconds),
        some.caller,
        some.claimed,
    )
    assert fixed_look_s(moved) == pytest.approx((4 * 9.9 + 2 * 10.9) / 6)
    one_look = measure(moved, 0.1, 0.1, draws=100).ways[2]
    assert one_look.ever_accepted.value == pytest.approx(0.1, abs=0.02)
    assert one_look.ever_rejected.value < 0.5
    assert 9.9 < one_look.seconds_mean < 10.9


def test_one_look_accepts_no_more_impostors_than_wanted_at_its_second() -> None:
    some = paths()
    impostors = some.only(~some.target)
    threshold = one_look_threshold(some, FAR)
    column = 9
    assert fixed_look_s(some) == pytest.approx(9.9)
    assert (impostors.highest[:, column] >= threshold).mean() <= FAR
    lower = threshold - 0.01
    assert (impostors.highest[:, column] >= lower).mean() > FAR - 0.005


def test_a_threshold_for_one_look_breaks_its_promise_when_it_is_looked_at_again(
    learnt: Learnt,
) -> None:
    boundaries, alone, one_look, every_look = learnt.ways
    assert one_look.ever_accepted.value == pytest.approx(FAR, abs=0.015)
    assert every_look.ever_accepted.value > 2 * FAR
    assert boundaries.ever_accepted.value <= FAR
    assert alone.ever_accepted.value <= FAR * 1.2
    assert every_look.ever_accepted.interval.low > FAR


def test_rates_lie_within_their_intervals_and_seconds_within_the_call(learnt: Learnt) -> None:
    for way in learnt.ways:
        for rate in (way.ever_accepted, way.ever_rejected):
            assert 0 <= rate.interval.low <= rate.value <= rate.interval.high <= 1
        assert 1.9 < way.seconds_mean <= 12
        assert way.seconds_mean <= way.seconds_p90 + 12


def test_intervals_are_no_narrower_than_what_so_many_persons_say(learnt: Learnt) -> None:
    for way in learnt.ways:
        rejected = way.ever_rejected
        assert rejected.interval.high - rejected.interval.low >= 0.36
    assert (learnt.persons, learnt.target_calls, learnt.impostor_pairs) == (8, 32, 828)


def test_a_person_never_helps_to_learn_what_it_is_judged_by() -> None:
    # Had its impostor calls been seen, no more than the wanted share of them would be accepted.
    some = paths(persons=7, cohort=60)
    odd = np.array([caller == "p0" for caller in some.caller]) & ~some.target
    high = replace(some, highest=np.where(odd[:, None], some.highest + 5, some.highest))
    alone = measure(high, 0.1, 0.1, draws=100).ways[1]
    assert alone.ever_accepted.value >= odd.sum() / (~some.target).sum() > 0.14


def test_the_smallest_rate_is_told_and_less_is_refused(learnt: Learnt) -> None:
    assert 3 / 828 < learnt.smallest_far < 3 / 500
    assert learnt.smallest_frr == 3 / 8
    with pytest.raises(TooFewTrials, match=r"so many pairs support 0\.00"):
        measure(paths(persons=8, cohort=100), 0.001, 0.1, draws=100)


def test_four_callers_are_too_few() -> None:
    with pytest.raises(TooFewTrials, match="at least 5 speakers, there are 4"):
        measure(paths(persons=4), 0.1, 0.1)


def test_the_same_paths_and_seed_give_the_same_numbers() -> None:
    first, second = (measure(paths(), FAR, 0.1, draws=100, seed=3) for _ in range(2))
    assert first.ways == second.ways
    assert (first.bounds.accept == second.bounds.accept).all()
