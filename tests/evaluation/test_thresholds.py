from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from speakerd_server.errors import OptionInvalid, TooFewTrials
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.thresholds import Suggestion, check_enough, smallest_far, suggest
from support.scored import made, wespeaker_scores


def suggested(evaluated: Evaluated, target_far: float, draws: int = 50) -> Suggestion:
    target, sides = evaluated.trials.target, (evaluated.enroll_speaker, evaluated.test_speaker)
    return suggest(evaluated.scores, target, *sides, target_far, draws=draws)


def test_the_threshold_is_the_impostor_score_that_the_wanted_rate_reaches() -> None:
    given = wespeaker_scores("raw")
    impostors = np.sort(given.scores[~given.trials.target])[::-1]
    found = suggested(given, 0.01, draws=500)
    assert found.threshold == impostors[14] == 0.31402
    assert found.far == 0.01
    assert found.frr == pytest.approx(13 / 270)
    assert (found.impostor_pairs, found.impostor_speaker_pairs) == (1500, 15)
    assert (found.genuine_pairs, found.genuine_speakers) == (270, 6)
    assert found.threshold_interval.low < found.threshold < found.threshold_interval.high
    assert found.far_interval.low <= found.far <= found.far_interval.high
    assert found.frr_interval.low <= found.frr <= found.frr_interval.high


made_up = made(6, 4)
impostor_count = int((~made_up.trials.target).sum())
few_numbers = hnp.arrays(
    np.float64,
    len(made_up.scores),
    elements=st.sampled_from([-0.3, 0.0, 0.1, 0.1000001, 0.123456789, 0.4, 0.5, 7.25]),
)


@settings(max_examples=60, deadline=None)
@given(few_numbers, st.sampled_from([0.02, 0.05, 0.1, 0.3, 0.5]))
def test_no_more_impostors_than_wanted_are_accepted_and_no_lower_score_would_do(
    scores: np.ndarray[tuple[int], np.dtype[np.float64]], target_far: float
) -> None:
    given = replace(made_up, scores=scores)
    found = suggested(given, target_far, draws=5)
    impostors = scores[~given.trials.target]
    assert found.far == (impostors >= found.threshold).mean() <= target_far
    lower = impostors[impostors < found.threshold - 1e-5]
    if lower.size:
        assert (impostors >= lower.max()).mean() > target_far
    assert round(found.threshold, 5) == found.threshold


def test_scores_that_are_all_alike_leave_a_threshold_above_them() -> None:
    given = replace(made_up, scores=np.full(len(made_up.scores), 0.25))
    found = suggested(given, 0.1)
    assert found.threshold == pytest.approx(0.25001)
    assert (found.far, found.frr) == (0.0, 1.0)
    assert found.far_interval.high > 0
    assert found.frr_interval.low < 1


def test_a_rate_of_zero_errors_still_has_a_range() -> None:
    given = replace(made_up, scores=np.where(made_up.trials.target, 0.9, made_up.scores / 10))
    found = suggested(given, 0.05)
    genuine = found.genuine_pairs
    assert found.frr == found.frr_interval.low == 0.0
    # Clopper and Pearson: no error in n trials is compatible with 1 - 0.025^(1/n).
    assert found.frr_interval.high == pytest.approx(1 - 0.025 ** (1 / genuine))


def test_a_rate_that_so_few_trials_cannot_support_is_refused_with_what_they_do() -> None:
    with pytest.raises(TooFewTrials, match=r"support 0\.002 and above.*3000.*1500") as refusal:
        suggested(wespeaker_scores("raw"), 0.001)
    assert (refusal.value.found, refusal.value.needed) == (1500, 3000)
    assert suggested(wespeaker_scores("raw"), 0.002).far == 0.002


@given(st.integers(3, 10**7))
def test_the_smallest_rate_that_is_told_is_one_that_is_accepted(impostors: int) -> None:
    check_enough(min(0.5, math.ceil(smallest_far(impostors) * 1e6) / 1e6), max(impostors, 6))
    if impostors > 6:
        with pytest.raises(TooFewTrials):
            check_enough(smallest_far(impostors) * 0.9, impostors)


def test_many_pairs_of_few_speakers_are_refused() -> None:
    with pytest.raises(TooFewTrials, match=r"10 different pairs of speakers .*there are 6"):
        suggested(made(4, 40), 0.1)


def test_thirty_false_accepts_make_a_rate_measured() -> None:
    given = wespeaker_scores("raw")
    assert not suggested(given, 0.019).measured
    assert suggested(given, 0.02).measured


def test_tied_scores_that_leave_no_false_accept_measure_nothing() -> None:
    given = made(20, 5)
    tied = replace(given, scores=np.where(given.trials.target, 1.0, 0.0))
    one = suggested(tied, 0.4)
    assert (one.far, one.false_accepts, one.measured) == (0.0, 0, False)


@pytest.mark.parametrize("target_far", [0.0, -0.1, 0.51, math.nan, math.inf])
def test_a_rate_out_of_its_range_is_refused(target_far: float) -> None:
    with pytest.raises(OptionInvalid, match="--target-far"):
        suggested(made_up, target_far)


def test_the_same_seed_gives_the_same_intervals() -> None:
    given = wespeaker_scores("raw")
    assert suggested(given, 0.01) == suggested(given, 0.01)
