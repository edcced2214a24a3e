from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.decision import Comparison, decide, revoked
from speakerd_server.errors import PolicyInvalid, SequentialUnavailable
from speakerd_server.policies import policy_for
from speakerd_server.sequential import SequentialDecision, one_look
from speakerd_server.values import (
    Decision,
    Handover,
    ScoreScale,
    SpeakerState,
    Thresholds,
    Verdict,
)
from support.boundaries import BOUNDARIES, card

RATE_HZ = 16_000
RATES = (0.01, 0.05)
TELEPHONE = replace(
    BOUNDARIES, profile="narrow-narrow", accept=(0.95,) * 4, reject=(0.05, 0.05, 0.35, 0.45)
)
MIXED = replace(BOUNDARIES, profile="wide-narrow", accept=(0.92, 0.92, 0.5, 0.5), reject=(0.0,) * 4)


def looked(
    *scores: float, bands: str = "wide-wide", looks: SequentialDecision | None = None
) -> SequentialDecision:
    """Look once a second, in the middle of it."""
    looks = looks or SequentialDecision([BOUNDARIES], RATE_HZ)
    for second, score in enumerate(scores):
        speech = second * RATE_HZ + RATE_HZ // 2
        looks.look("alice", score, speech_samples=speech, windows=second + 1, bands=bands)
    return looks


def verdict(
    looks: SequentialDecision, cosine: float | None = 0.5, poor: str = "", bands: str = "wide-wide"
) -> Verdict:
    return decide(
        policy_for(card(BOUNDARIES), sequential=RATES),
        [Comparison("alice", cosine, SpeakerState.ENROLLED, bands)],
        speech_samples=2 * RATE_HZ,
        window_count=2,
        sample_rate_hz=RATE_HZ,
        speakers_compared=1,
        poor=poor,
        sequential=looks,
    )


def test_the_first_crossing_decides_and_stays_whatever_comes_later() -> None:
    accepted, rejected = looked(0.5, 0.81, 0.0, 0.0), looked(0.09, 0.99, 0.99)
    assert verdict(accepted, cosine=-0.5).decision is Decision.ACCEPT
    assert verdict(rejected, cosine=0.99).decision is Decision.REJECT
    assert verdict(accepted, poor="too noisy").decision is Decision.ACCEPT


def test_between_the_boundaries_nothing_is_decided_however_good_the_score_is_now() -> None:
    open_still = looked(0.5, 0.5, 0.5)
    told = verdict(open_still, cosine=0.99)
    assert told.decision is Decision.UNDECIDED
    assert "alice crossed no boundary so far, with 0.9900 on the scale cosine" in told.reason


def test_a_boundary_is_that_of_the_second_in_which_a_look_falls() -> None:
    looks = SequentialDecision([BOUNDARIES], RATE_HZ)
    assert looks.at(0, "") == Thresholds(0.9, 0.1)
    assert looks.at(RATE_HZ - 1, "") == Thresholds(0.9, 0.1)
    assert looks.at(RATE_HZ, "") == Thresholds(0.8, 0.2)
    assert looks.at(4 * RATE_HZ, "") == Thresholds(0.6, 0.4)
    assert looks.at(4 * RATE_HZ + 1, "") is None


def test_reaching_accept_is_enough_and_reaching_reject_is_not() -> None:
    assert looked(0.9).of("alice") is not None
    assert looked(0.1).of("alice") is None
    crossed = looked(math.nextafter(0.1, 0.0)).of("alice")
    assert crossed is not None
    assert crossed.decision is Decision.REJECT


def test_each_speaker_is_decided_alone() -> None:
    looks = looked(0.95)
    looks.look("bob", 0.5, speech_samples=8000, windows=1, bands="")
    assert looks.of("bob") is None
    looks.look("bob", 0.0, speech_samples=24_000, windows=2, bands="")
    decided = {name: looks.of(name) for name in ("alice", "bob")}
    assert [one.decision for one in decided.values() if one] == [Decision.ACCEPT, Decision.REJECT]


def test_one_accepted_speaker_is_enough_for_the_call_whoever_is_more_alike_now() -> None:
    looks = SequentialDecision([BOUNDARIES], RATE_HZ)
    for speaker_id, cosine in (("alice", 0.95), ("bob", -0.9)):
        looks.look(speaker_id, cosine, speech_samples=RATE_HZ, windows=1, bands="wide-wide")
    told = decide(
        policy_for(card(BOUNDARIES), sequential=RATES),
        [
            Comparison("alice", 0.1, SpeakerState.ENROLLED, "wide-wide"),
            Comparison("bob", 0.9, SpeakerState.ENROLLED, "wide-wide"),
        ],
        speech_samples=2 * RATE_HZ,
        window_count=2,
        sample_rate_hz=RATE_HZ,
        speakers_compared=2,
        sequential=looks,
    )
    assert [(one.speaker_id, one.decision) for one in told.scores] == [
        ("bob", Decision.REJECT),
        ("alice", Decision.ACCEPT),
    ]
    assert told.decision is Decision.ACCEPT
    assert told.reason.startswith("alice")


def test_the_reason_tells_when_and_by_how_much() -> None:
    reason = verdict(looked(0.5, 0.81)).reason
    assert reason == (
        "alice reached the accept boundary 0.8000 with 0.8100 on the scale cosine, after 1.50 s of"
        " speech (2 windows); that stays"
    )


def test_a_deleted_speaker_is_not_accepted_by_what_was_heard_before() -> None:
    policy = policy_for(card(BOUNDARIES), sequential=RATES)
    told = decide(
        policy,
        [Comparison("alice", None, None)],
        speech_samples=RATE_HZ,
        window_count=1,
        sample_rate_hz=RATE_HZ,
        speakers_compared=0,
        sequential=looked(0.95),
    )
    assert told.decision is Decision.SPEAKER_NOT_ENROLLED


def test_the_bands_choose_the_profile_and_where_they_are_not_known_the_strictest_holds() -> None:
    looks = SequentialDecision([BOUNDARIES, MIXED, TELEPHONE], RATE_HZ)
    assert looks.at(0, "wide-wide") == Thresholds(0.9, 0.1)
    assert looks.at(0, "wide-narrow") == Thresholds(0.92, 0.0)
    assert looks.at(0, "narrow-narrow") == Thresholds(0.95, 0.05)
    assert looks.at(2 * RATE_HZ, "") == Thresholds(0.95, 0.0)


def test_a_default_profile_serves_where_no_other_fits() -> None:
    usual = replace(BOUNDARIES, profile="default", accept=(0.99,) * 4)
    looks = SequentialDecision([usual, TELEPHONE], RATE_HZ)
    assert looks.at(0, "wide-wide") == Thresholds(0.99, 0.1)
    assert looks.at(0, "narrow-narrow") == Thresholds(0.95, 0.05)


def test_bands_without_boundaries_decide_nothing_and_say_so() -> None:
    looks = looked(0.99, bands="narrow-narrow")
    told = verdict(looks, bands="narrow-narrow")
    assert told.decision is Decision.UNDECIDED
    assert told.scores[0].thresholds is None
    assert told.reason.endswith("the model has no boundaries for narrow-narrow band")
    assert verdict(looked(0.99, looks=looks)).decision is Decision.ACCEPT


def test_a_score_is_told_with_the_boundaries_of_its_moment() -> None:
    assert verdict(looked(0.5)).scores[0].thresholds == Thresholds(0.7, 0.3)


@given(st.lists(st.floats(-1, 1), max_size=4))
def test_it_is_decided_by_the_first_score_beyond_a_boundary(scores: list[float]) -> None:
    wanted = None
    for score, high, low in zip(scores, BOUNDARIES.accept, BOUNDARIES.reject, strict=False):
        if wanted is None and not low <= score < high:
            wanted = Decision.ACCEPT if score >= high else Decision.REJECT
    found = looked(*scores).of("alice")
    assert (found.decision if found else None) is wanted


def test_only_more_windows_are_a_new_look() -> None:
    looks = SequentialDecision([BOUNDARIES], RATE_HZ)
    assert [looks.is_look(count) for count in (0, 1, 1, 3, 2, 4)] == [
        False, True, False, True, False, True,
    ]  # fmt: skip


def test_a_policy_takes_its_maximum_from_the_boundaries_and_has_no_threshold() -> None:
    policy = policy_for(card(BOUNDARIES), sequential=RATES)
    assert (policy.accept_at, policy.reject_below) == (math.inf, -math.inf)
    assert policy.maximum_speech_samples == 4 * RATE_HZ
    assert policy.sequential == RATES
    assert policy_for(card(BOUNDARIES), sequential=RATES, maximum_speech_s=3.0).scale is (
        ScoreScale.COSINE
    )


@pytest.mark.parametrize("revoke", [False, True])
def test_a_policy_by_boundaries_keeps_what_is_done_at_a_handover(revoke: bool) -> None:
    policy = policy_for(card(BOUNDARIES), sequential=RATES, revoke_at_handover=revoke)
    assert policy.revoke_at_handover is revoke
    kept = verdict(looked(0.95))
    told = revoked(kept, Handover(0.2, 5, 40_000), policy)
    assert told.decision is (Decision.UNDECIDED if revoke else Decision.ACCEPT)
    assert told.scores == kept.scores


@pytest.mark.parametrize(
    ("field", "given_too"),
    [
        ("sequential", {"scale": ScoreScale.COSINE, "accept_at": 0.5}),
        ("sequential", {"scale": ScoreScale.COSINE, "reject_below": 0.5}),
        ("scale", {"scale": ScoreScale.SIMILARITY}),
        ("maximum_net_speech", {"maximum_speech_s": 4.5}),
        ("minimum_net_speech", {"minimum_speech_s": 4.5}),
        ("maximum_net_speech", {"minimum_speech_s": 3.0, "maximum_speech_s": 2.0}),
        ("minimum_net_speech", {"minimum_speech_s": -1.0}),
    ],
)
def test_what_contradicts_boundaries_is_refused(field: str, given_too: dict[str, float]) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        policy_for(card(BOUNDARIES), sequential=RATES, **given_too)  # type: ignore[arg-type]
    assert caught.value.field == f"policy.{field}"


@pytest.mark.parametrize("rates", [(0.02, 0.05), (0.01, 0.01), (math.nan, 0.05), (0.0, 0.0)])
def test_other_rates_are_refused_with_those_that_there_are(rates: tuple[float, float]) -> None:
    there = card(BOUNDARIES, replace(BOUNDARIES, target_far=0.05), TELEPHONE)
    with pytest.raises(SequentialUnavailable, match=r"has them for 0\.01 and 0\.05, 0\.05 and 0"):
        policy_for(there, sequential=rates)


def test_a_model_without_boundaries_says_how_to_learn_them() -> None:
    with pytest.raises(SequentialUnavailable, match="speakerd evaluate --sequential"):
        policy_for(card(), sequential=RATES)


def test_a_call_must_be_heard_as_those_behind_the_boundaries() -> None:
    looks = SequentialDecision([BOUNDARIES], RATE_HZ)
    looks.check(32_000, None, gated=True, searched=False)
    looks.check(32_000, 32_000, gated=True, searched=False)
    for problem, heard in (
        ("learnt with samples_per_chunk 32000, not -1", (-1, None, True, False)),
        ("set speech_gate to ON", (32_000, None, False, False)),
        ("name speakers, do not search for one", (32_000, None, True, True)),
        ("it ends before the first window, of 2 s", (32_000, 31_999, True, False)),
    ):
        length, most, gated, searched = heard
        with pytest.raises(PolicyInvalid, match=problem):
            looks.check(length, most, gated=gated, searched=searched)


def test_what_is_looked_at_once_has_no_use_for_it() -> None:
    plain = policy_for(card(BOUNDARIES))
    assert one_look(plain) is plain
    with pytest.raises(PolicyInvalid, match=r"policy\.sequential"):
        one_look(policy_for(card(BOUNDARIES), sequential=RATES))
