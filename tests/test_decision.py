from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.decision import _REASONS, Comparison, decide
from speakerd_server.errors import PolicyInvalid, ScaleUnavailable
from speakerd_server.policies import policy_for
from speakerd_server.values import (
    Decision,
    Policy,
    ScoreScale,
    SpeakerState,
    Verdict,
)
from support.signals import card

CARD = card()
POLICY = policy_for(CARD, maximum_speech_s=10.0)
ENROLLED = SpeakerState.ENROLLED


def verdict(
    comparisons: Sequence[Comparison] | None,
    policy: Policy = POLICY,
    speech_s: float = 4.0,
    windows: int = 2,
) -> Verdict:
    return decide(
        policy,
        comparisons,
        speech_samples=round(speech_s * 16_000),
        window_count=windows,
        sample_rate_hz=16_000,
        speakers_compared=len(comparisons or ()),
    )


def alice(cosine: float | None, state: SpeakerState | None = ENROLLED) -> list[Comparison]:
    return [Comparison("alice", cosine, state)]


def test_an_unset_policy_is_the_cards_on_the_cosine_scale() -> None:
    assert policy_for(CARD) == Policy(ScoreScale.COSINE, 0.5, 0.3, 16_000, None)


def test_a_scale_alone_carries_the_cards_thresholds_over() -> None:
    policy = policy_for(CARD, ScoreScale.SIMILARITY)
    assert (policy.accept_at, policy.reject_below) == (0.75, 0.65)
    assert policy_for(CARD, ScoreScale.COSINE) == policy_for(CARD)


def test_accept_at_alone_leaves_no_room_for_undecided() -> None:
    policy = policy_for(CARD, ScoreScale.COSINE, accept_at=0.1)
    assert (policy.accept_at, policy.reject_below) == (0.1, 0.1)


def test_reject_below_alone_keeps_the_cards_accept_at_and_must_not_pass_it() -> None:
    policy = policy_for(CARD, ScoreScale.SIMILARITY, reject_below=0.7)
    assert (policy.accept_at, policy.reject_below) == (0.75, 0.7)
    with pytest.raises(PolicyInvalid, match="above accept_at") as caught:
        policy_for(CARD, ScoreScale.SIMILARITY, reject_below=0.76)
    assert caught.value.field == "policy.reject_below"


def test_seconds_become_samples_at_the_models_rate() -> None:
    policy = policy_for(CARD, minimum_speech_s=0.5, maximum_speech_s=0.5)
    assert (policy.minimum_speech_samples, policy.maximum_speech_samples) == (8_000, 8_000)


@pytest.mark.parametrize("field", ["accept_at", "reject_below"])
def test_thresholds_without_a_scale_are_refused(field: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_for(CARD, **{field: 0.5})  # type: ignore[arg-type]
    assert caught.value.field == "policy.scale"


@pytest.mark.parametrize("field", ["accept_at", "reject_below"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.001, -1.001])
def test_thresholds_off_their_scale_are_refused(field: str, value: float) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_for(CARD, ScoreScale.COSINE, **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == f"policy.{field}"
    with pytest.raises(PolicyInvalid, match="0 to 1"):
        policy_for(CARD, ScoreScale.SIMILARITY, accept_at=-0.001)


@pytest.mark.parametrize(
    ("minimum_s", "maximum_s", "field"),
    [
        (-0.1, None, "minimum"),
        (3_600.1, None, "minimum"),
        (math.nan, None, "minimum"),
        (math.inf, None, "minimum"),
        (1.0, 0.99, "maximum"),
        (0.0, 0.0, "maximum"),
        (0.0, -1.0, "maximum"),
        (0.0, 0.001, "maximum"),
        (0.0, math.nan, "maximum"),
        (0.0, math.inf, "maximum"),
    ],
)
def test_speech_bounds_that_make_no_sense_are_refused(
    minimum_s: float, maximum_s: float | None, field: str
) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_for(CARD, minimum_speech_s=minimum_s, maximum_speech_s=maximum_s)
    assert caught.value.field == f"policy.{field}_net_speech"


@pytest.mark.parametrize("scale", [ScoreScale.ASNORM, ScoreScale.LLR])
def test_scales_that_the_model_cannot_give_are_refused(scale: ScoreScale) -> None:
    with pytest.raises(ScaleUnavailable):
        policy_for(CARD, scale)
    with pytest.raises(ScaleUnavailable):
        policy_for(CARD, scale, accept_at=3.0)


@pytest.mark.parametrize(
    ("cosine", "decision"),
    [
        (1.0, Decision.ACCEPT),
        (0.5, Decision.ACCEPT),
        (0.4999, Decision.UNDECIDED),
        (0.3, Decision.UNDECIDED),
        (0.2999, Decision.REJECT),
        (-1.0, Decision.REJECT),
    ],
)
def test_thresholds_decide_on_any_scale(cosine: float, decision: Decision) -> None:
    assert verdict(alice(cosine)).decision is decision
    similar = policy_for(CARD, ScoreScale.SIMILARITY)
    assert verdict(alice(cosine), similar).decision is decision
    assert verdict(alice(cosine), similar).scores[0].score == (cosine + 1) / 2


@pytest.mark.parametrize(
    ("cosine", "speech_s", "windows", "why"),
    [
        (None, 4.0, 0, "no window with a voice in it was heard yet, in 4.00 s of net speech"),
        (0.9, 0.99, 1, "0.99 s of speech is less than the 1.00 s that the policy asks for"),
        (-0.9, 0.99, 1, "0.99 s of speech is less than the 1.00 s that the policy asks for"),
        (None, 4.0, 2, "there is nothing to compare alice with, in 4.00 s of speech"),
    ],
)
def test_too_little_speech_is_said_and_the_score_still_shown(
    cosine: float | None, speech_s: float, windows: int, why: str
) -> None:
    answer = verdict(alice(cosine), speech_s=speech_s, windows=windows)
    assert answer.decision is Decision.NOT_ENOUGH_SPEECH
    assert answer.scores[0].score == cosine
    assert answer.reason == why


def test_exactly_the_minimum_of_speech_is_enough_but_never_no_window() -> None:
    assert verdict(alice(0.9), speech_s=1.0).decision is Decision.ACCEPT
    zero = policy_for(CARD, minimum_speech_s=0.0)
    assert verdict(alice(None), zero, windows=0).decision is Decision.NOT_ENOUGH_SPEECH


@pytest.mark.parametrize(
    ("state", "decision", "why"),
    [
        (None, Decision.SPEAKER_NOT_ENROLLED, "alice has no voiceprint"),
        (SpeakerState.PENDING, Decision.SPEAKER_NOT_ENROLLED, "alice has no voiceprint"),
        (SpeakerState.OPTED_OUT, Decision.SPEAKER_OPTED_OUT, "alice asked not to be"),
        (SpeakerState.EXPIRED, Decision.SPEAKER_EXPIRED, "voiceprint of alice is older"),
    ],
)
def test_speakers_who_cannot_be_compared_are_named_so_whatever_was_heard(
    state: SpeakerState | None, decision: Decision, why: str
) -> None:
    for speech_s, windows in [(0.0, 0), (4.0, 2)]:
        answer = verdict(alice(0.9, state), speech_s=speech_s, windows=windows)
        assert answer.decision is decision
        assert (answer.scores[0].decision, answer.scores[0].score) == (decision, None)
        assert why in answer.reason


def test_a_call_without_target_and_an_empty_domain_are_told_apart() -> None:
    nobody = verdict(None)
    assert (nobody.decision, nobody.scores) == (Decision.SPEAKER_NOT_PROVIDED, ())
    assert "names no speaker" in nobody.reason
    empty = verdict([])
    assert (empty.decision, empty.scores) == (Decision.SPEAKER_NOT_ENROLLED, ())
    assert empty.reason == "nobody is enrolled in the domain"


def test_the_most_alike_comparable_speaker_decides_the_call() -> None:
    answer = verdict(
        [
            Comparison("unknown", None, None),
            Comparison("bob", 0.2, ENROLLED),
            Comparison("gone", None, SpeakerState.OPTED_OUT),
            Comparison("carol", 0.8, ENROLLED),
            Comparison("dora", 0.8, ENROLLED),
        ]
    )
    assert [s.speaker_id for s in answer.scores] == ["carol", "dora", "bob", "unknown", "gone"]
    assert answer.decision is Decision.ACCEPT
    assert answer.reason.startswith("carol")
    assert answer.speakers_compared == 5
    assert answer.scores[2].decision is Decision.REJECT


def test_before_any_window_a_comparable_speaker_comes_before_an_unknown_one() -> None:
    claims = [Comparison("unknown", None, None), *alice(None)]
    assert verdict(claims, speech_s=0, windows=0).decision is Decision.NOT_ENOUGH_SPEECH


def test_without_any_comparable_speaker_the_first_decides() -> None:
    claims = [*alice(None, SpeakerState.EXPIRED), Comparison("bob", None, None)]
    assert verdict(claims).decision is Decision.SPEAKER_EXPIRED
    assert verdict(claims[::-1]).decision is Decision.SPEAKER_NOT_ENROLLED


@pytest.mark.parametrize(
    ("cosine", "speech_s", "windows", "reason"),
    [
        (0.7, 4.0, 2, "at or above the accept threshold 0.5000, after 4.00 s of speech (2"),
        (0.1, 1.98, 1, "below the reject threshold 0.3000, after 1.98 s of speech (1 wind"),
        (0.4, 4.0, 2, "between the thresholds 0.3000 and 0.5000, after"),
    ],
)
def test_reasons_carry_the_numbers_and_the_scale(
    cosine: float, speech_s: float, windows: int, reason: str
) -> None:
    answer = verdict(alice(cosine), speech_s=speech_s, windows=windows)
    assert answer.reason.startswith(f"alice scores {cosine:.4f} on the scale cosine, ")
    assert reason in answer.reason


def test_every_decision_has_its_reason() -> None:
    assert set(_REASONS) == set(Decision)


@given(
    st.lists(st.tuples(st.floats(-1, 1) | st.none(), st.sampled_from([*SpeakerState, None]))),
    st.floats(0, 20),
    st.integers(0, 9),
)
def test_any_verdict_is_consistent(
    known: list[tuple[float | None, SpeakerState | None]],
    speech_s: float,
    windows: int,
) -> None:
    claims = [Comparison(str(n), cosine, state) for n, (cosine, state) in enumerate(known)]
    answer = verdict(claims, speech_s=speech_s, windows=windows)
    numbers = [s.score for s in answer.scores if s.score is not None]
    assert numbers == sorted(numbers, reverse=True)
    assert all(s.score is None for s in answer.scores[len(numbers) :])
    assert sorted(s.speaker_id for s in answer.scores) == sorted(c.speaker_id for c in claims)
    assert answer.decision in {s.decision for s in answer.scores} or not claims
    assert answer.reason
    stricter = replace(POLICY, accept_at=1.0, reject_below=1.0)
    strict = verdict(claims, stricter, speech_s=speech_s, windows=windows)
    assert [s.score for s in strict.scores] == [s.score for s in answer.scores]
