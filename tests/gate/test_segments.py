from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.gate.segments import Segments
from speakerd_server.gate.settings import GateSettings, SegmentRule

RULE = SegmentRule(begin_at=0.5, go_on_at=0.35, hangover_frames=2, minimum_frames=3, lead_frames=1)


def released(rule: SegmentRule, probabilities: list[float]) -> list[int]:
    segments, found = Segments(rule), []
    for probability in probabilities:
        found += list(segments.push(probability))
    return found


def speech(rule: SegmentRule, probabilities: list[float]) -> list[int]:
    """Decide over the whole signal at once: an implementation of its own."""
    found: set[int] = set()
    at = 0
    while at < len(probabilities):
        if probabilities[at] < rule.begin_at:
            at += 1
            continue
        first = last = at
        while at < len(probabilities) and at - last <= rule.hangover_frames:
            if probabilities[at] >= rule.go_on_at:
                last = at
            at += 1
            if at < len(probabilities) and probabilities[at] >= rule.go_on_at:
                last = at
        if last - first + 1 >= rule.minimum_frames:
            end = min(last + rule.hangover_frames, len(probabilities) - 1)
            found |= set(range(max(0, first - rule.lead_frames), end + 1))
    return sorted(found)


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ("0000", []),
        ("09990000", [0, 1, 2, 3, 4, 5]),
        ("0990000", []),
        ("9990", [0, 1, 2, 3]),
        ("04440", []),
        ("09440000", [0, 1, 2, 3, 4, 5]),
        ("09009000900000", [0, 1, 2, 3, 4, 5, 6]),
    ],
    ids=["silence", "speech", "short", "start", "weak", "weaker later", "gap"],
)
def test_speech_is_voice_with_what_belongs_to_it(probabilities: str, expected: list[int]) -> None:
    assert released(RULE, [int(one) / 10 for one in probabilities]) == expected


@given(
    st.lists(st.sampled_from([0.0, 0.3, 0.4, 0.6, 1.0]), max_size=60),
    st.builds(
        SegmentRule,
        st.just(0.5),
        st.sampled_from([0.35, 0.5]),
        st.integers(0, 5),
        st.integers(0, 6),
        st.integers(0, 2),
    ),
)
def test_frame_by_frame_is_the_same_as_all_at_once(
    probabilities: list[float], rule: SegmentRule
) -> None:
    assert released(rule, probabilities) == speech(rule, probabilities)


@given(st.lists(st.sampled_from([0.0, 0.4, 1.0]), max_size=60))
def test_no_frame_is_released_before_the_oldest_undecided_one(probabilities: list[float]) -> None:
    segments, oldest = Segments(RULE), 0
    for at, probability in enumerate(probabilities):
        found = segments.push(probability)
        assert not found or found.start >= oldest
        assert oldest <= segments.undecided_from <= at + 1
        assert at + 1 - segments.undecided_from <= RULE.minimum_frames + RULE.hangover_frames + 2
        oldest = segments.undecided_from


def test_milliseconds_become_whole_frames() -> None:
    rule = GateSettings(threshold=0.6, hangover_ms=33, minimum_segment_ms=32).rule
    assert (rule.hangover_frames, rule.minimum_frames) == (2, 1)
    assert rule.go_on_at == pytest.approx(0.45)
