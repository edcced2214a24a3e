from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from speakerd_server.errors import (
    AudioIncompleteSample,
    AudioNotFinite,
    AudioTooLong,
    AudioTooShort,
    NoAudio,
    SampleRateUnsupported,
    SamplesPerChunkInvalid,
)
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding
from support.driven import Call, assert_same
from support.signals import RATES_HZ, card, noise, to_bytes

PCM_16K = AudioFormat(Encoding.PCM16LE, 16_000)
TWO_SECONDS = SessionSettings(PCM_16K, card(), 32_000)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_settled_session_cuts_the_signal_and_ignores_the_rest(rate_hz: int) -> None:
    wanted = SessionSettings(
        AudioFormat(Encoding.FLOAT32LE, rate_hz), card(), 720, maximum_speech_samples=1_600
    )
    cut = to_bytes(noise(rate_hz // 10 + 1)[: -(-1_600 * rate_hz // 16_000)], Encoding.FLOAT32LE)
    call, exact = Call(wanted), Call(wanted)
    final = call.run([cut + b"\xff" * 4_001, b"\xff" * 4_001])
    assert call.session.settled
    assert_same(final, exact.run([cut]))
    assert final.speech_samples == 1_600
    assert final.committed_samples == call.session.received_samples == len(cut) // 4


def test_a_session_that_may_still_go_on_is_not_settled() -> None:
    session = Session(replace(TWO_SECONDS, maximum_speech_samples=1_600))
    session.push(bytes(2 * 1_600 - 1))
    assert not session.settled
    session.push(b"\x00")
    assert session.settled
    unbounded = Session(TWO_SECONDS)
    unbounded.push(bytes(10_000))
    assert not unbounded.settled


def test_audio_that_ends_badly_is_named() -> None:
    with pytest.raises(NoAudio):
        Call(TWO_SECONDS).run([b""])
    with pytest.raises(AudioTooShort):
        Call(TWO_SECONDS).run([bytes(2 * 399)])
    with pytest.raises(AudioTooShort):
        Call(replace(TWO_SECONDS, samples_per_chunk=-1)).run([bytes(2 * 719)])
    with pytest.raises(AudioIncompleteSample):
        Call(TWO_SECONDS).run([bytes(2 * 4_000 + 1)])


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_under_25_ms_is_too_short_at_any_rate(rate_hz: int) -> None:
    wanted = replace(TWO_SECONDS, audio_format=AudioFormat(Encoding.MULAW, rate_hz))
    with pytest.raises(AudioTooShort):
        Call(wanted).run([bytes(rate_hz // 40 - 2)])
    assert Call(wanted).run([bytes(rate_hz // 40 + 1)]).windows_without_variance == 1


def test_a_signal_longer_than_allowed_is_refused() -> None:
    with pytest.raises(AudioTooLong, match=r"0\.1 s; split"):
        Call(replace(TWO_SECONDS, maximum_signal_samples=1_600)).run([bytes(2 * 1_601)])
    Call(replace(TWO_SECONDS, maximum_signal_samples=1_600)).run([bytes(2 * 1_600)])


@pytest.mark.parametrize("maximum", [None, 10**9])
def test_one_window_over_everything_is_at_most_a_minute(maximum: int | None) -> None:
    wanted = replace(TWO_SECONDS, samples_per_chunk=-1, maximum_signal_samples=maximum)
    session = Session(wanted)
    session.push(bytes(2 * 960_000))
    with pytest.raises(AudioTooLong, match="60 s; set samples_per_chunk"):
        session.push(bytes(2))


@pytest.mark.parametrize("rate_hz", [0, 7_999, 1_000_000_000])
def test_a_rate_out_of_range_is_refused_at_once(rate_hz: int) -> None:
    with pytest.raises(SampleRateUnsupported):
        Session(replace(TWO_SECONDS, audio_format=AudioFormat(Encoding.ALAW, rate_hz)))


@pytest.mark.parametrize("samples_per_chunk", [0, -2, 719, 960_001, 10**18])
def test_an_impossible_window_length_is_refused_at_once(samples_per_chunk: int) -> None:
    with pytest.raises(SamplesPerChunkInvalid):
        Session(replace(TWO_SECONDS, samples_per_chunk=samples_per_chunk))


def test_a_float_that_is_none_is_refused_with_the_message_that_brings_it() -> None:
    session = Session(replace(TWO_SECONDS, audio_format=AudioFormat(Encoding.FLOAT32LE, 16_000)))
    with pytest.raises(AudioNotFinite):
        session.push(np.full(1, np.nan, np.float32).tobytes())


def test_a_signal_that_is_too_long_is_refused_with_the_sample_that_is_too_much() -> None:
    session = Session(replace(TWO_SECONDS, maximum_signal_samples=1_000))
    session.push(bytes(2 * 1_000))
    with pytest.raises(AudioTooLong):
        session.push(bytes(2))
