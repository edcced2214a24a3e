from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.decision import Comparison, decide
from speakerd_server.errors import PolicyInvalid
from speakerd_server.margin import check_margin, with_margin
from speakerd_server.policies import policy_for
from speakerd_server.values import Decision, ScoreScale, SpeakerState, Verdict
from support.signals import card

POLICY = policy_for(card())
COSINES = st.lists(st.floats(-1, 1), max_size=5)


def judged(cosines: list[float | None], minimum_margin: float = 0.0) -> Verdict:
    policy = replace(POLICY, minimum_margin=minimum_margin)
    known = [
        Comparison(name, cosine, SpeakerState.ENROLLED)
        for name, cosine in zip("abcde", cosines, strict=False)
    ]
    verdict = decide(
        policy,
        known,
        speech_samples=48_000,
        window_count=2,
        sample_rate_hz=16_000,
        speakers_compared=len(known),
    )
    return with_margin(verdict, policy)


def test_a_best_speaker_who_leads_by_too_little_is_not_accepted() -> None:
    close = judged([0.75, 0.25, 0.8125], minimum_margin=0.125)
    assert close.decision is Decision.UNDECIDED
    assert close.margin == 0.0625
    assert close.reason.startswith("c leads a by 0.0625, less than the minimum margin 0.1250; c sc")
    assert [one.decision for one in close.scores[:2]] == [Decision.ACCEPT, Decision.ACCEPT]


def test_exactly_the_minimum_is_enough() -> None:
    assert judged([0.75, 0.625], minimum_margin=0.125).decision is Decision.ACCEPT


@pytest.mark.parametrize(
    ("cosine", "expected"), [(0.1, Decision.REJECT), (0.4, Decision.UNDECIDED)]
)
def test_a_margin_only_ever_turns_an_accept(cosine: float, expected: Decision) -> None:
    verdict = judged([cosine, cosine], minimum_margin=0.5)
    assert (verdict.decision, verdict.margin) == (expected, 0.0)
    assert "margin" not in verdict.reason


@pytest.mark.parametrize("cosines", [[0.9], [0.9, None], [None, None], []])
def test_without_a_second_score_there_is_no_margin(cosines: list[float | None]) -> None:
    held, free = judged(cosines, minimum_margin=1.0), judged(cosines)
    assert held == free
    assert held.margin is None


@given(COSINES, st.floats(0, 2))
def test_a_minimum_never_accepts_more_and_never_moves_a_score(
    cosines: list[float], minimum_margin: float
) -> None:
    held, free = judged([*cosines], minimum_margin), judged([*cosines])
    assert (held.scores, held.margin) == (free.scores, free.margin)
    assert held.margin is None or held.margin >= 0
    if held.decision is Decision.ACCEPT:
        assert free.decision is Decision.ACCEPT
        assert held.margin is None or held.margin >= minimum_margin
    else:
        assert held.decision in {free.decision, Decision.UNDECIDED}


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (ScoreScale.COSINE, 2.001),
        (ScoreScale.SIMILARITY, 1.001),
        *(
            (scale, value)
            for scale in (ScoreScale.COSINE, ScoreScale.ASNORM, ScoreScale.LLR)
            for value in (-0.001, math.nan, math.inf, -math.inf)
        ),
    ],
)
def test_what_is_no_difference_of_scores_is_refused(scale: ScoreScale, value: float) -> None:
    with pytest.raises(PolicyInvalid, match=f"scale {scale.value}") as caught:
        check_margin(value, scale, searched=True)
    assert caught.value.field == "policy.minimum_margin"


def test_a_margin_that_would_never_be_looked_at_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match="nobody is searched for"):
        check_margin(0.1, ScoreScale.COSINE, searched=False)
    check_margin(0.0, ScoreScale.COSINE, searched=False)
    check_margin(2.0, ScoreScale.COSINE, searched=True)
    check_margin(1e6, ScoreScale.ASNORM, searched=True)
