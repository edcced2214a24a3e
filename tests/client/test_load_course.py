"""What is sent is serialised once, in whole messages, and is the track."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd.v1 import audio_pb2
from speakerd.v1.verification_pb2 import StreamVerifyRequest
from speakerd_client import Audio, AudioFormat, Encoding, InvalidLoad, InvalidRequest, Policy
from speakerd_client.call_options import VerifyOptions
from speakerd_client.load.course import Course, wire_of
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.sound import Track

ADDRESS = "127.0.0.1:1"


def track(samples: int, encoding: Encoding = Encoding.MULAW, rate_hz: int = 8000) -> Track:
    content = bytes(number * 7 % 251 for number in range(samples * encoding.sample_bytes))
    return Track("a", Audio(content, AudioFormat(encoding, rate_hz)))


@given(
    samples=st.integers(1, 5_000),
    message_ms=st.sampled_from([20, 100, 250]),
    encoding=st.sampled_from(Encoding),
)
def test_messages_are_the_track_without_what_fills_none(
    samples: int, message_ms: int, encoding: Encoding
) -> None:
    sent = track(samples, encoding)
    wire = wire_of(sent, LivePlan(ADDRESS, message_ms=message_ms))
    pieces = [StreamVerifyRequest.FromString(message).audio for message in wire.messages]
    size_bytes = 8 * message_ms * encoding.sample_bytes
    assert {len(piece) for piece in pieces} == {size_bytes}
    assert wire.message_samples == 8 * message_ms
    joined, content = b"".join(pieces), sent.audio.content
    repeated = content * (1 + len(joined) // len(content))
    assert repeated.startswith(joined)
    assert len(content) - len(joined) < size_bytes


def test_the_config_says_what_the_plan_says() -> None:
    options = VerifyOptions(
        domain="calls",
        model="campplus/1",
        samples_per_chunk=48_000,
        update_interval_s=2.5,
        speech_gate=False,
        policy=Policy(maximum_speech_s=6.0),
    )
    plan = LivePlan(ADDRESS, speaker_id="alice", options=options)
    wire = wire_of(track(8000), plan)
    config = StreamVerifyRequest.FromString(wire.config).config
    assert (config.speaker_id, config.domain, config.model) == ("alice", "calls", "campplus/1")
    assert config.samples_per_chunk == 48_000
    assert config.update_interval.ToMilliseconds() == 2500
    assert config.policy.maximum_net_speech.ToSeconds() == 6
    assert config.audio_format.encoding == audio_pb2.AUDIO_ENCODING_MULAW
    assert config.audio_format.sample_rate_hz == wire.rate_hz == 8000


def test_without_a_speaker_there_is_no_target() -> None:
    wire = wire_of(track(8000), LivePlan(ADDRESS))
    config = StreamVerifyRequest.FromString(wire.config).config
    assert config.WhichOneof("target") is None


def test_what_no_message_can_hold_is_named() -> None:
    with pytest.raises(InvalidLoad, match="is 1920000 bytes"):
        wire_of(track(10, Encoding.FLOAT32LE, 48_000), LivePlan(ADDRESS, message_ms=10_000))
    huge = VerifyOptions(samples_per_chunk=10**12)
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        wire_of(track(800), LivePlan(ADDRESS, options=huge))


def test_a_course_counts_between_its_times() -> None:
    course = Course(ADDRESS, 1, 0.1, 0.0, 100.0, 105.0, 120.0, 2.0)
    assert [course.counts(at_s) for at_s in (104.9, 105.0, 120.0, 120.1)] == [
        False,
        True,
        True,
        False,
    ]
    assert [course.slot(at_s) for at_s in (100.0, 101.9, 102.0, 119.0)] == [0, 0, 1, 9]
