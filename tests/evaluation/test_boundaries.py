from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.errors import TooFewTrials
from speakerd_server.evaluation.boundaries import accept_level, learn, reject_level
from speakerd_server.evaluation.score_paths import Paths
from support.score_paths import paths

Bool = NDArray[np.bool_]

SOME = paths()
RATES = st.sampled_from([0.02, 0.05, 0.1, 0.3, 0.5])


def shifted(given: Paths, wanted: Bool, by: float) -> Paths:
    moved = np.where(wanted[:, None], given.highest + by, given.highest)
    return replace(given, highest=moved, lowest=moved.copy())


def crosses(beyond: Bool) -> Bool:
    return np.asarray(beyond.any(axis=1), np.bool_)


def pair_shares(given: Paths, crossed: Bool) -> list[float]:
    return [float(crossed[given.pair == one].mean()) for one in np.unique(given.pair)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), RATES)
def test_no_larger_share_of_pairs_than_wanted_ever_crosses_the_accept_level_and_one_more_pair(
    seed: int, target_far: float
) -> None:
    impostors = paths(seed=seed, cohort=20).only(~paths(seed=seed, cohort=20).target)
    ever = crosses(impostors.highest >= accept_level(impostors, target_far))
    shares = pair_shares(impostors, ever)
    assert (1 + sum(shares)) / (1 + len(shares)) <= target_far + 1e-9


def test_the_accept_level_is_no_higher_than_the_next_path_asks_for() -> None:
    impostors = SOME.only(~SOME.target)
    level = accept_level(impostors, 0.05)
    ever = crosses(impostors.highest >= level - 1e-3)
    assert (1 + sum(pair_shares(impostors, ever))) / (1 + len(np.unique(impostors.pair))) > 0.045


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), RATES)
def test_nobody_behind_the_fit_is_rejected_in_more_calls_than_wanted(
    seed: int, target_frr: float
) -> None:
    given_paths = paths(seed=seed, cohort=1, calls=7)
    targets = given_paths.only(given_paths.target)
    level = reject_level(targets, target_frr) - 1e-9
    ever = crosses(targets.lowest < level)
    callers = np.array(targets.caller)
    assert all(ever[callers == one].mean() <= target_frr for one in set(targets.caller))


def test_where_both_promises_leave_room_the_middle_of_it_decides_at_once() -> None:
    apart = shifted(SOME, SOME.target, 2.0)
    bounds = learn(apart, 0.05, 0.1)
    accept = accept_level(apart.only(~apart.target), 0.05)
    reject = reject_level(apart.only(apart.target), 0.1)
    assert (bounds.accept == bounds.reject).all()
    assert bounds.accept == pytest.approx((accept + reject) / 2, abs=1e-5)


def test_where_kinds_overlap_there_is_room_to_be_undecided() -> None:
    bounds = learn(shifted(SOME, SOME.target, -0.35), 0.02, 0.02)
    looked = slice(1, 4)
    assert (bounds.reject[looked] < bounds.accept[looked]).all()


def test_boundaries_are_rounded_to_the_safe_side() -> None:
    overlapping = shifted(SOME, SOME.target, -0.35)
    bounds = learn(overlapping, 0.02, 0.02)
    accept = accept_level(overlapping.only(~overlapping.target), 0.02)
    reject = reject_level(overlapping.only(overlapping.target), 0.02)
    assert (bounds.accept[:4] >= accept[:4] - 1e-12).all()
    assert (bounds.reject[:4] <= reject[:4] + 1e-12).all()
    assert bounds.accept == pytest.approx(np.round(bounds.accept, 5), abs=1e-12)


def test_a_second_without_a_look_has_the_boundary_of_the_last_one_with_one() -> None:
    bounds = learn(SOME, 0.05, 0.1)
    assert bounds.accept[0] == bounds.accept[1] == bounds.accept[2] != bounds.accept[3]
    assert bounds.accept[3] == bounds.accept[4]


def test_too_few_pairs_of_persons_for_the_rate_are_refused() -> None:
    impostors = paths(persons=5, cohort=1).only(~paths(persons=5, cohort=1).target)
    with pytest.raises(TooFewTrials) as caught:
        accept_level(impostors, 0.05)
    assert (caught.value.found, caught.value.needed) == (15, 19)


def test_many_calls_of_few_pairs_count_no_more_than_few() -> None:
    impostors = SOME.only(~SOME.target)
    again = Paths(
        np.concatenate([impostors.highest] * 2),
        np.concatenate([impostors.lowest] * 2),
        np.concatenate([impostors.seconds] * 2),
        impostors.caller * 2,
        impostors.claimed * 2,
    )
    assert accept_level(again, 0.05) == pytest.approx(accept_level(impostors, 0.05))
