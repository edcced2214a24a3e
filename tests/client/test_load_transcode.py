"""Recordings become what the load sends, bit for bit where that is possible."""

from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client import Audio, AudioFileError, AudioFormat, Encoding
from speakerd_client.load.transcode import in_format
from speakerd_server.audio.decode import Decoder
from speakerd_server.values import AudioFormat as ServerFormat
from speakerd_server.values import Encoding as ServerEncoding
from support.speech import noise, pcm16

SPEECH = pcm16(noise(0.3))
SAMPLES = np.frombuffer(SPEECH, "<i2")


def made(content: bytes, encoding: Encoding, rate_hz: int = 16_000) -> Audio:
    return Audio(content, AudioFormat(encoding, rate_hz))


def heard(audio: Audio) -> np.ndarray:
    """What the daemon hears, on the scale of 16 bits."""
    encoding = ServerEncoding(audio.format.encoding.value)
    decoder = Decoder(ServerFormat(encoding, audio.format.sample_rate_hz))
    return decoder.push(audio.content) * 32_768.0


@pytest.mark.parametrize("encoding", Encoding)
def test_what_has_the_format_already_is_not_touched(encoding: Encoding) -> None:
    audio = made(SPEECH, encoding)
    assert in_format(audio, audio.format, "a") is audio


def test_floats_are_exactly_the_samples() -> None:
    floats = in_format(made(SPEECH, Encoding.PCM16LE), AudioFormat(Encoding.FLOAT32LE), "a")
    assert np.array_equal(heard(floats), SAMPLES)
    again = in_format(floats, AudioFormat(Encoding.PCM16LE), "a")
    assert again.content == SPEECH


@pytest.mark.parametrize("law", [Encoding.MULAW, Encoding.ALAW])
def test_a_law_keeps_the_samples_to_its_own_steps(law: Encoding) -> None:
    coded = in_format(made(SPEECH, Encoding.PCM16LE), AudioFormat(law), "a")
    assert len(coded.content) == len(SAMPLES)
    assert (np.abs(heard(coded) - SAMPLES) <= 16 + np.abs(SAMPLES) / 16).all()
    again = in_format(in_format(coded, AudioFormat(), "a"), coded.format, "a")
    assert np.array_equal(heard(again), heard(coded))


@given(st.lists(st.floats(-40_000, 40_000, width=32), min_size=1, max_size=50))
def test_floats_are_rounded_and_clipped(values: list[float]) -> None:
    content = struct.pack(f"<{len(values)}f", *(value / 32_768 for value in values))
    rounded = np.frombuffer(
        in_format(made(content, Encoding.FLOAT32LE), AudioFormat(), "a").content, "<i2"
    )
    wanted = np.clip(np.rint(np.frombuffer(content, "<f4").astype(float) * 32_768), -32_768, 32_767)
    assert np.array_equal(rounded, wanted)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_sample_that_is_no_number_is_named(value: float) -> None:
    audio = made(struct.pack("<2f", 0.0, value), Encoding.FLOAT32LE)
    with pytest.raises(AudioFileError, match=r"call\.wav: .* no number"):
        in_format(audio, AudioFormat(), "call.wav")


def test_half_a_sample_at_the_end_is_left_out() -> None:
    coded = in_format(made(SPEECH + b"\1", Encoding.PCM16LE), AudioFormat(Encoding.MULAW), "a")
    assert len(coded.content) == len(SAMPLES)


def test_another_rate_keeps_the_sound() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000) * 8000
    audio = made(tone.astype("<i2").tobytes(), Encoding.PCM16LE)
    phone = in_format(audio, AudioFormat(Encoding.MULAW, 8000), "a")
    assert phone.format == AudioFormat(Encoding.MULAW, 8000)
    assert len(phone.content) == 8000
    wanted = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000) * 8000
    assert np.abs(heard(phone) - wanted)[500:-500].max() < 300


@pytest.mark.parametrize("missing", ["soxr", "numpy"])
def test_without_the_extra_another_rate_is_refused_with_three_ways_out(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(AudioFileError) as caught:
        in_format(made(SPEECH, Encoding.PCM16LE), AudioFormat(Encoding.MULAW, 8000), "call.wav")
    assert "call.wav: it has 16000 Hz and 8000 Hz are wanted" in caught.value.message
    for way in ("leave --rate out", "sox IN -r 8000 OUT", "speakerd-client[load]"):
        assert way in caught.value.message


def test_a_machine_of_the_other_byte_order_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "byteorder", "big")
    swapped = SAMPLES.astype(">i2").tobytes()
    coded = in_format(made(swapped, Encoding.PCM16LE), AudioFormat(Encoding.MULAW), "a")
    monkeypatch.undo()
    assert coded == in_format(made(SPEECH, Encoding.PCM16LE), coded.format, "a")
