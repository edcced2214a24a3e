from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import DurationsMissing
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.evaluating import calibration_for
from speakerd_server.evaluation.measured import Application, measure
from speakerd_server.evaluation.metrics import actual_cost, cllr, minimum_cllr, minimum_cost
from speakerd_server.evaluation.trials import Trials
from speakerd_server.values import ScoreScale

HALF = Application(0.5)
RARE = Application(0.01, c_miss=10)


def evaluated(persons: int, seed: int = 0) -> Evaluated:
    """Two recordings of each person, all against all."""
    ids = [f"u{number}" for number in range(2 * persons)]
    pairs = [(i, j) for i in range(len(ids)) for j in range(i + 1, len(ids))]
    target = np.array([i // 2 == j // 2 for i, j in pairs])
    scores = np.random.default_rng(seed).normal(0, 0.2, len(pairs)) + 0.4 * target
    enroll, test = ([ids[pair[side]] for pair in pairs] for side in (0, 1))
    return Evaluated(
        trials=Trials(Path("trials.txt"), tuple(enroll), tuple(test), target),
        scores=scores,
        scale=ScoreScale.COSINE,
        enroll_speaker=tuple(f"s{i // 2}" for i, _ in pairs),
        test_speaker=tuple(f"s{j // 2}" for _, j in pairs),
        enroll_seconds=None,
        test_seconds=None,
        model=None,
    )


LLR = LlrCalibration(
    profile="default",
    scale=ScoreScale.COSINE,
    offset=-3.0,
    slope=10.0,
    shorter=0.0,
    longer=0.0,
    speakers=9,
    cllr_before=1.0,
    cllr_after=0.5,
    trials="test",
)


def test_the_numbers_are_those_of_the_metrics() -> None:
    given = evaluated(8)
    found = measure(given, [HALF, RARE], draws=100, calibration=LLR)
    assert found is not None
    assert (found.target_trials, found.nontarget_trials, found.speakers) == (8, 112, 8)
    target = given.trials.target
    assert found.costs[1].minimum == minimum_cost(given.scores, target, p_target=0.01, c_miss=10)
    assert found.minimum_cllr == minimum_cllr(given.scores, target)
    llrs = 10 * given.scores - 3
    assert found.cllr == cllr(llrs, target)
    assert found.costs[1].actual == actual_cost(llrs, target, p_target=0.01, c_miss=10)
    assert found.costs[1].actual >= found.costs[1].minimum


def test_intervals_hold_what_they_are_about_and_depend_on_the_seed_alone() -> None:
    given = evaluated(8)
    one, again, other = (measure(given, [HALF], draws=200, seed=seed) for seed in (1, 1, 2))
    assert one == again != other
    assert one is not None
    assert one.equal_error_interval is not None
    low, high = one.equal_error_interval
    assert 0 <= low < one.equal_error_rate < high <= 1
    assert one.costs[0].minimum_interval is not None
    assert one.costs[0].minimum_interval.low < one.costs[0].minimum_interval.high


@pytest.mark.parametrize(("persons", "draws"), [(4, 100), (8, 0)])
def test_no_interval_is_given_for_few_speakers_or_unasked(persons: int, draws: int) -> None:
    found = measure(evaluated(persons), [HALF], draws=draws)
    assert found is not None
    assert found.equal_error_interval is None
    assert found.costs[0].minimum_interval is None
    assert found.cllr is found.costs[0].actual is None


def test_one_kind_of_trial_alone_is_not_measured() -> None:
    given = evaluated(3)
    for target in (np.ones_like(given.trials.target), np.zeros_like(given.trials.target)):
        trials = replace(given.trials, target=target)
        assert measure(replace(given, trials=trials), [HALF]) is None


def test_a_calibration_fits_its_profile_its_scale_and_known_durations() -> None:
    given = evaluated(3)
    assert calibration_for([LLR], given) is LLR
    assert calibration_for([LLR], given, "telephone") is None
    assert calibration_for([replace(LLR, scale=ScoreScale.ASNORM)], given) is None
    with_durations = replace(LLR, shorter=0.5)
    assert calibration_for([with_durations], given) is None
    seconds = np.full(len(given.trials), 2.0)
    known = replace(given, enroll_seconds=seconds, test_seconds=seconds)
    assert calibration_for([with_durations], known) is with_durations
    found = measure(known, [HALF], draws=0, calibration=with_durations)
    assert found is not None
    llrs = 10 * given.scores - 3 + 0.5 * np.log(2)
    assert found.cllr == pytest.approx(cllr(llrs, given.trials.target))
    with pytest.raises(DurationsMissing):
        measure(given, [HALF], calibration=with_durations)
