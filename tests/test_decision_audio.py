"""Decisions by what the audio is like: its band, and how good it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from speakerd_server.cards import BandThresholds
from speakerd_server.decision import Comparison, decide, pair_of
from speakerd_server.policies import policy_for
from speakerd_server.values import (
    Band,
    Decision,
    Policy,
    ScoreScale,
    SpeakerState,
    Thresholds,
    Verdict,
)
from support.signals import card

CARD = card()
POLICY = policy_for(CARD)
ON_LINES = replace(
    CARD,
    calibration=replace(
        CARD.calibration, bands=(BandThresholds("narrow-narrow", 0.7, 0.6, "made for tests"),)
    ),
)


def judged(policy: Policy, cosine: float, bands: str) -> Verdict:
    return decide(
        policy,
        [Comparison("alice", cosine, SpeakerState.ENROLLED, bands)],
        speech_samples=48_000,
        window_count=2,
        sample_rate_hz=16_000,
        speakers_compared=1,
    )


@pytest.mark.parametrize(
    ("bands", "cosine", "expected"),
    [
        ("", 0.55, Decision.ACCEPT),
        ("wide-wide", 0.55, Decision.ACCEPT),
        ("narrow-narrow", 0.55, Decision.REJECT),
        ("narrow-narrow", 0.65, Decision.UNDECIDED),
        ("narrow-narrow", 0.7, Decision.ACCEPT),
    ],
)
def test_the_card_s_thresholds_are_those_of_the_bands(
    bands: str, cosine: float, expected: Decision
) -> None:
    verdict = judged(policy_for(ON_LINES), cosine, bands)
    assert verdict.decision is expected
    held = verdict.scores[0].thresholds
    assert held == (Thresholds(0.7, 0.6) if bands == "narrow-narrow" else Thresholds(0.5, 0.3))
    assert ("for narrow-narrow band" in verdict.reason) == (bands == "narrow-narrow")
    similar = judged(policy_for(ON_LINES, ScoreScale.SIMILARITY), cosine, bands)
    assert similar.decision is expected


def test_a_policy_with_a_threshold_of_its_own_holds_for_all_bands() -> None:
    policy = policy_for(ON_LINES, ScoreScale.COSINE, accept_at=0.5)
    assert judged(policy, 0.55, "narrow-narrow").decision is Decision.ACCEPT


def test_a_pair_of_bands_has_one_name_whichever_is_which() -> None:
    assert pair_of(Band.WIDE, Band.NARROW) == pair_of(Band.NARROW, Band.WIDE) == "wide-narrow"
    assert pair_of(Band.NARROW, Band.NARROW) == "narrow-narrow"
    assert pair_of(None, Band.WIDE) == pair_of(Band.WIDE, None) == ""


def test_poor_audio_is_said_once_there_is_enough_speech() -> None:
    def said(speech_samples: int) -> Verdict:
        return decide(
            POLICY,
            [Comparison("alice", 0.9, SpeakerState.ENROLLED)],
            speech_samples=speech_samples,
            window_count=1,
            sample_rate_hz=16_000,
            speakers_compared=1,
            poor="its signal-to-noise ratio is 1.0 dB",
        )

    assert said(8_000).decision is Decision.NOT_ENOUGH_SPEECH
    assert said(16_000).decision is Decision.POOR_AUDIO
    assert "1.0 dB" in said(16_000).reason
