"""Policies, and what they decide, on scales whose scores a cosine alone does not tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.cards import (
    BandThresholds,
    CohortDescription,
    LlrCalibration,
    ScaleThresholds,
)
from speakerd_server.decision import Comparison, decide
from speakerd_server.errors import PolicyInvalid
from speakerd_server.policies import policy_for
from speakerd_server.values import Decision, Policy, ScoreScale, SpeakerState, Verdict
from support.signals import card

CARD, ENROLLED = card(), SpeakerState.ENROLLED
NORMALISED = replace(
    CARD,
    cohort=CohortDescription("cohort.npz", "0" * 64, 9, 9, "nobody's voices"),
    calibration=replace(
        CARD.calibration,
        bands=(BandThresholds("wide-narrow", 0.4, 0.2, "ours"),),
        scales=(ScaleThresholds(ScoreScale.ASNORM, 3.5, 2.5, "ours"),),
        llr=(LlrCalibration("default", ScoreScale.COSINE, 0.0, 9.0, 0.0, 0.0, 9, 1.0, 0.1, "us"),),
    ),
)


def verdict(comparisons: Sequence[Comparison], policy: Policy) -> Verdict:
    return decide(
        policy,
        comparisons,
        speech_samples=64_000,
        window_count=2,
        sample_rate_hz=16_000,
        speakers_compared=len(comparisons),
    )


def test_a_scale_with_thresholds_of_its_own_has_them_for_all_bands() -> None:
    policy = policy_for(NORMALISED, ScoreScale.ASNORM)
    assert (policy.accept_at, policy.reject_below, policy.by_bands) == (3.5, 2.5, {})
    assert policy_for(NORMALISED, ScoreScale.ASNORM, accept_at=30.0).reject_below == 30.0
    assert policy_for(NORMALISED).by_bands["wide-narrow"].accept_at == 0.4


def test_a_scale_without_thresholds_needs_them_and_takes_any_finite_number() -> None:
    with pytest.raises(PolicyInvalid, match="no threshold on the scale llr") as caught:
        policy_for(NORMALISED, ScoreScale.LLR)
    assert caught.value.field == "policy.accept_at"
    assert policy_for(NORMALISED, ScoreScale.LLR, accept_at=-1e6).accept_at == -1e6
    for wrong in (math.nan, math.inf, -math.inf):
        with pytest.raises(PolicyInvalid, match="no number on the scale llr"):
            policy_for(NORMALISED, ScoreScale.LLR, accept_at=wrong)
        with pytest.raises(PolicyInvalid, match="no number on the scale llr"):
            policy_for(NORMALISED, ScoreScale.LLR, accept_at=1.0, reject_below=wrong)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-9, 9)), min_size=1, max_size=5))
def test_speakers_are_ranked_and_judged_on_the_policys_scale(
    scores: list[tuple[float, float]],
) -> None:
    known = [
        Comparison(f"s{row}", cosine, ENROLLED, "", {ScoreScale.ASNORM: other}, "wide-wide")
        for row, (cosine, other) in enumerate(scores)
    ]
    found = verdict(known, policy_for(NORMALISED, ScoreScale.ASNORM))
    told = [one.score for one in found.scores if one.score is not None]
    assert told == sorted((other for _, other in scores), reverse=True)
    assert found.decision is found.scores[0].decision
    assert (found.decision is Decision.ACCEPT) == (max(told) >= 3.5)
    assert all(one.all_scores[ScoreScale.ASNORM] == one.score for one in found.scores)
    assert {one.profile for one in found.scores} == {"wide-wide"}


def test_a_comparison_without_a_score_on_the_scale_is_not_judged() -> None:
    known = [Comparison("alice", 0.9, ENROLLED, "", {ScoreScale.COSINE: 0.9})]
    found = verdict(known, policy_for(NORMALISED, ScoreScale.ASNORM))
    assert found.decision is Decision.NOT_ENOUGH_SPEECH
    assert (found.scores[0].score, found.scores[0].thresholds) == (None, None)
    assert found.reason.startswith("alice has no score on the scale asnorm, after 4.00 s")
