"""Boundaries made for tests."""

from __future__ import annotations

from dataclasses import replace

from speakerd_server.cards import Card, SequentialBoundaries
from speakerd_server.values import ScoreScale
from support import signals

BOUNDARIES = SequentialBoundaries(
    profile="wide-wide",
    scale=ScoreScale.COSINE,
    target_far=0.01,
    target_frr=0.05,
    samples_per_chunk=32_000,
    speech_gate=True,
    accept=(0.9, 0.8, 0.7, 0.6),
    reject=(0.1, 0.2, 0.3, 0.4),
    impostor_pairs=675,
    genuine_speakers=6,
    trials="made for tests",
)


def card(*boundaries: SequentialBoundaries) -> Card:
    """Give a card with these boundaries."""
    plain = signals.card()
    return replace(plain, calibration=replace(plain.calibration, sequential=boundaries))
