from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.errors import DurationsMissing, TooFewTrials, TrialsUnusable
from speakerd_server.evaluation.calibrate import MOST_FOLDS, fit
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.metrics import cllr
from speakerd_server.score.calibration import llrs_of
from speakerd_server.values import ScoreScale
from support.scored import made, wespeaker_scores


def with_scores(evaluated: Evaluated, targets: float, impostors: float) -> Evaluated:
    """Give every target one score and every other trial another."""
    return replace(evaluated, scores=np.where(evaluated.trials.target, targets, impostors))


def test_normal_scores_get_the_ratios_that_their_densities_have() -> None:
    # Two normal densities of deviation s, a apart: llr = (a/s) (score/s - a/(2 s)).
    given = made(60, 6, apart=2.0)
    found = fit([given], trials="made", draws=20).calibration
    assert found.slope == pytest.approx(20.0, rel=0.06)
    assert found.offset == pytest.approx(-2.0, rel=0.06)
    assert (found.shorter, found.longer) == (0.0, 0.0)


def test_calibration_helps_on_speakers_that_it_never_saw() -> None:
    given = wespeaker_scores("raw")
    found = fit([given], trials="raw.score", profile="short", draws=200)
    one = found.calibration
    assert (one.profile, one.scale, one.speakers, found.folds) == ("short", ScoreScale.COSINE, 6, 6)
    assert found.before.cllr == pytest.approx(cllr(given.scores, given.trials.target))
    assert found.before.cllr == pytest.approx(0.868, abs=0.001)
    assert found.after.cllr == pytest.approx(0.154, abs=0.002)
    assert found.after.minimum <= found.after.cllr
    assert found.after.interval.low <= found.after.cllr <= found.after.interval.high
    assert found.after.interval.high < found.before.interval.low
    assert (one.cllr_before, one.cllr_after) == (found.before.cllr, found.after.cllr)
    assert one.trials == "raw.score"


def test_costs_are_of_speakers_left_out_not_of_the_fit_itself() -> None:
    given = wespeaker_scores("raw")
    found = fit([given], trials="raw", draws=20)
    resubstituted = cllr(llrs_of(found.calibration, given.scores), given.trials.target)
    assert found.after.cllr > resubstituted + 0.01


def test_a_trial_is_scored_by_a_fit_that_saw_neither_of_its_persons() -> None:
    given = made(6, 4)
    plain = fit([given], trials="made", draws=20)
    concerned = np.array(
        ["p0" in sides for sides in zip(given.enroll_speaker, given.test_speaker, strict=True)]
    )
    # Scores of p0 that lie elsewhere change the fits that saw p0, and none of those for p0.
    moved = replace(given, scores=given.scores + 0.5 * concerned)
    other = fit([moved], trials="made", draws=20)
    slopes = (other.left_out - plain.left_out)[concerned] / 0.5
    # Every trial of p0 with one other person moved by the slope of one and the same fit.
    for person in {*given.enroll_speaker}:
        theirs = [
            {"p0", person} == {*sides}
            for sides in zip(given.enroll_speaker, given.test_speaker, strict=True)
        ]
        found = slopes[np.array(theirs)[concerned]]
        np.testing.assert_allclose(found, found[0], rtol=1e-6)
    assert not np.allclose(other.left_out[~concerned], plain.left_out[~concerned])


def test_separate_scores_stay_within_what_so_many_trials_can_tell() -> None:
    given = with_scores(made(8, 4), 0.8, 0.1)
    targets = int(given.trials.target.sum())
    others = len(given.scores) - targets
    llrs = llrs_of(fit([given], trials="made", draws=20).calibration, np.array([0.8, 0.1]))
    assert llrs == pytest.approx([math.log(targets + 1), -math.log(others + 1)], rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(apart=st.floats(0.5, 1000), seed=st.integers(0, 1000))
def test_ratios_are_bounded_however_far_apart_the_scores_are(apart: float, seed: int) -> None:
    given = made(6, 3, apart=apart, seed=seed)
    found = fit([given], trials="made", draws=5)
    llrs = llrs_of(found.calibration, given.scores)
    most = math.log(len(given.scores))
    for kind in (given.trials.target, ~given.trials.target):
        assert abs(llrs[kind].mean()) < 2 * most
    assert np.isfinite(found.left_out).all()
    assert np.isfinite([found.before.cllr, found.after.cllr, found.after.minimum]).all()


def test_durations_are_fitted_when_they_are_asked_for() -> None:
    given = made(40, 4, apart=2.0, seconds=True)
    plain = fit([given], trials="made", draws=20)
    found = fit([given], trials="made", with_durations=True, draws=20)
    # The scores rise by 0.05 with ln(shorter): what the slope takes for sameness is taken off.
    assert found.calibration.shorter == pytest.approx(-0.05 * found.calibration.slope, rel=0.15)
    assert found.calibration.longer == pytest.approx(0.0, abs=0.3)
    sides = np.stack([given.enroll_seconds, given.test_seconds])  # type: ignore[list-item]
    within = found.calibration.shortest_s, found.calibration.longest_s
    assert within == (sides.min(), sides.max())
    assert (plain.calibration.shortest_s, plain.calibration.longest_s) == (0.0, math.inf)
    assert found.after.cllr < plain.after.cllr


def test_durations_that_are_all_the_same_change_nothing() -> None:
    given = made()
    same = np.full(len(given.scores), 2.0)
    timed = replace(given, enroll_seconds=same, test_seconds=same)
    found = fit([timed], trials="made", with_durations=True, draws=20).calibration
    plain = fit([given], trials="made", draws=20).calibration
    assert (found.shorter, found.longer) == (0.0, 0.0)
    assert (found.offset, found.slope) == pytest.approx((plain.offset, plain.slope))


def test_several_lengths_of_speech_make_one_calibration() -> None:
    one, other = made(seconds=True), made(seconds=True, seed=1)
    together = fit([one, other], trials="both", with_durations=True, draws=20)
    assert together.trials == len(one.scores) + len(other.scores)
    assert len(together.left_out) == together.trials


def test_durations_that_are_not_known_are_refused() -> None:
    with pytest.raises(DurationsMissing):
        fit([made(seconds=True), made()], trials="made", with_durations=True)


def test_many_speakers_are_left_out_several_at_a_time() -> None:
    found = fit([made(25, 2)], trials="made", draws=20)
    assert found.folds == MOST_FOLDS
    assert found.calibration.speakers == 25


def test_the_order_of_the_trials_and_of_the_sides_does_not_matter() -> None:
    given = wespeaker_scores("raw")
    order = np.random.default_rng(1).permutation(len(given.scores))
    other = replace(
        given,
        trials=given.trials.only(np.ones(len(order), bool)),
        scores=given.scores[order],
        enroll_speaker=tuple(given.test_speaker[at] for at in order),
        test_speaker=tuple(given.enroll_speaker[at] for at in order),
    )
    other = replace(other, trials=replace(given.trials, target=given.trials.target[order]))
    one = fit([given], trials="raw", draws=20)
    two = fit([other], trials="raw", draws=20)
    assert two.calibration.slope == pytest.approx(one.calibration.slope, rel=1e-6)
    assert two.after.cllr == pytest.approx(one.after.cllr, rel=1e-6)


def test_scores_that_fall_with_sameness_are_refused() -> None:
    given = made()
    with pytest.raises(TrialsUnusable, match="do not rise with sameness"):
        fit([replace(given, scores=-given.scores)], trials="made")
    with pytest.raises(TrialsUnusable, match="do not rise with sameness"):
        fit([with_scores(given, 0.5, 0.5)], trials="made")


def test_scores_that_are_no_numbers_are_refused() -> None:
    given = made()
    broken = given.scores.copy()
    broken[3] = np.nan
    with pytest.raises(TrialsUnusable, match="not a finite number"):
        fit([replace(given, scores=broken)], trials="made")


@pytest.mark.parametrize(("kind", "missing"), [(True, "non-target"), (False, "target")])
def test_a_missing_kind_of_trial_is_named(kind: bool, missing: str) -> None:
    given = made()
    every = replace(given.trials, target=np.full(len(given.scores), kind))
    with pytest.raises(TrialsUnusable, match=f"no {missing} trial"):
        fit([replace(given, trials=every)], trials="made")


def test_too_few_speakers_are_refused_with_how_many_are_needed() -> None:
    with pytest.raises(TooFewTrials, match="at least 5 speakers, there are 4") as refusal:
        fit([made(4)], trials="made")
    assert (refusal.value.found, refusal.value.needed) == (4, 5)


def test_trials_that_hang_on_one_person_are_refused() -> None:
    # Each non-target trial has p0 on one side: nothing is left when p0 is left out.
    given = made(6)
    sides = zip(given.enroll_speaker, given.test_speaker, strict=True)
    kept = np.array([one == other or "p0" in (one, other) for one, other in sides])
    rows = np.flatnonzero(kept)
    few = replace(
        given,
        trials=given.trials.only(kept),
        scores=given.scores[kept],
        enroll_speaker=tuple(given.enroll_speaker[row] for row in rows),
        test_speaker=tuple(given.test_speaker[row] for row in rows),
    )
    with pytest.raises(TrialsUnusable, match="with p0 left out of the fit no non-target trial"):
        fit([few], trials="made")


def test_scores_of_two_scales_are_not_fitted_together() -> None:
    with pytest.raises(TrialsUnusable, match="two scales"):
        fit([made(), replace(made(), scale=ScoreScale.ASNORM)], trials="made")


def test_a_prior_moves_the_fit_and_not_the_scale() -> None:
    given = wespeaker_scores("raw")
    low = fit([given], trials="raw", prior=0.01, draws=20)
    assert low.calibration.slope > 0
    # Natural-log ratios, not odds: the prior's log odds of -4.6 are not in the offset.
    zero = -low.calibration.offset / low.calibration.slope
    assert 0.1 < zero < 0.45
