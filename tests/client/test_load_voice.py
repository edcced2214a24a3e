"""The synthetic signal is the same on every run and is heard as voice, not as silence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_client import AudioFormat, Encoding
from speakerd_client.load.voice import synthetic_voice


def heard(seconds: float, rate_hz: int) -> np.ndarray:
    return np.frombuffer(synthetic_voice(seconds, rate_hz).content, "<i2").astype(float)


def test_it_is_the_same_every_time_and_a_longer_one_has_another_scale_at_most() -> None:
    assert synthetic_voice(0.5) == synthetic_voice(0.5)
    short, long = heard(0.5, 16_000), heard(1.0, 16_000)[:8000]
    assert np.corrcoef(short, long)[0, 1] > 0.9999


@settings(max_examples=15, deadline=None)
@given(st.floats(0.02, 0.6), st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]))
def test_it_has_the_length_the_rate_and_the_loudness_that_are_wanted(
    seconds: float, rate_hz: int
) -> None:
    audio = synthetic_voice(seconds, rate_hz)
    assert audio.format == AudioFormat(Encoding.PCM16LE, rate_hz)
    assert len(audio.content) == 2 * round(seconds * rate_hz)
    assert 13_000 < np.abs(heard(seconds, rate_hz)).max() <= 14_000


@pytest.mark.parametrize("rate_hz", [8_000, 16_000])
def test_every_tenth_of_a_second_is_sound_that_varies(rate_hz: int) -> None:
    pieces = heard(4.0, rate_hz).reshape(40, -1)
    assert pieces.std(axis=1).min() > 100
    spectra = np.abs(np.fft.rfft(pieces, axis=1))
    assert np.corrcoef(spectra).min() < 0.7


@pytest.mark.parametrize(("seconds", "rate_hz"), [(0.0, 16_000), (-1.0, 16_000), (1.0, 0)])
def test_no_audio_is_refused(seconds: float, rate_hz: int) -> None:
    with pytest.raises(ValueError, match="no audio"):
        synthetic_voice(seconds, rate_hz)
