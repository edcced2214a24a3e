from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import TooFewTrials
from speakerd_server.evaluation.bootstrap import bootstrap_weights, interval
from speakerd_server.evaluation.metrics import equal_error_rate

PERSONS = [f"s{number}" for number in range(6)]
SIDES = list(itertools.combinations_with_replacement(PERSONS, 2))
ENROLL, TEST = [one for one, _ in SIDES], [other for _, other in SIDES]


def test_a_trial_counts_as_often_as_both_its_persons_are_drawn() -> None:
    for weights in bootstrap_weights(ENROLL, TEST, 50, seed=1):
        found = dict(zip(SIDES, weights, strict=True))
        drawn = {person: found[person, person] for person in PERSONS}
        assert sum(drawn.values()) == len(PERSONS)
        assert all(count == int(count) for count in drawn.values())
        for (one, other), weight in found.items():
            assert weight == (drawn[one] if one == other else drawn[one] * drawn[other])


def test_a_seed_gives_the_same_draws_and_another_one_others() -> None:
    one, again, other = (
        np.array(list(bootstrap_weights(ENROLL, TEST, 20, seed))) for seed in (7, 7, 8)
    )
    assert one.shape == (20, len(SIDES))
    assert (one == again).all()
    assert (one != other).any()


@given(st.integers(0, 500))
def test_draws_without_either_kind_are_drawn_again(seed: int) -> None:
    enroll, test = ["a", "b", "c"], ["a", "c", "d"]
    for weights in bootstrap_weights(enroll, test, 5, seed):
        assert weights[0] > 0
        assert weights[1] + weights[2] > 0


@pytest.mark.parametrize(("enroll", "test"), [(["a"], ["a"]), (["a"], ["b"])])
def test_one_kind_alone_cannot_be_drawn(enroll: list[str], test: list[str]) -> None:
    with pytest.raises(TooFewTrials, match="target and non-target"):
        next(bootstrap_weights(enroll, test, 1, 0))


def test_speakers_that_differ_make_the_interval_wider_than_their_trials_would() -> None:
    generator = np.random.default_rng(3)
    persons = [f"s{number}" for number in range(12)]
    sides = [pair for pair in itertools.combinations_with_replacement(persons, 2) for _ in range(9)]
    target = np.array([one == other for one, other in sides])
    goats = {person: generator.normal(0, 1.5) for person in persons}
    scores = np.array([goats[one] + 2 * (one == other) for one, other in sides])
    scores += generator.normal(0, 0.3, len(sides))
    enroll, test = ([pair[side] for pair in sides] for side in (0, 1))
    by_speakers = [
        equal_error_rate(scores, target, weights).rate
        for weights in bootstrap_weights(enroll, test, 200, 0)
    ]
    by_trials = []
    for _ in range(200):
        drawn = generator.integers(0, len(sides), len(sides))
        by_trials.append(equal_error_rate(scores[drawn], target[drawn]).rate)
    low, high = interval(by_speakers)
    narrow = interval(by_trials)
    assert high - low > 1.5 * (narrow.high - narrow.low)
    assert low < equal_error_rate(scores, target).rate < high


def test_the_interval_leaves_out_as_much_on_either_side() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert interval([3.0], level=0.5) == (3.0, 3.0)
