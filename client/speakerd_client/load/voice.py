"""A voice-like signal made by arithmetic: for load without recordings, not for decisions.

A saw-tooth with a wandering pitch, and a little noise, goes through three resonators whose
frequencies step through five vowels, under an envelope of syllables: sound that varies as speech
does, the same on every run. It is nobody's voice, so its scores mean nothing.
"""

from __future__ import annotations

import math
from array import array

from speakerd_client.audio import Audio, AudioFormat, Encoding
from speakerd_client.load.g711 import little_endian

_VOWELS_HZ = (
    (730, 1090, 2440),
    (270, 2290, 3010),
    (530, 1840, 2480),
    (570, 840, 2410),
    (300, 870, 2240),
)
_BANDWIDTHS_HZ = (90.0, 110.0, 170.0)
_PITCH_HZ = 118.0
_SYLLABLE_S = 0.17
_SYLLABLES_PER_S = 2.9
_PEAK = 14_000
_NOISE = 0.06


def synthetic_voice(seconds: float, sample_rate_hz: int = 16_000) -> Audio:
    """Make so many seconds as PCM16LE, without silence; deterministic.

    Raises:
        ValueError: That is no sample, or the rate is not above 0.
    """
    count = round(seconds * sample_rate_hz)
    if count < 1 or sample_rate_hz < 1:
        raise ValueError(f"no audio: {seconds} s at {sample_rate_hz} Hz")
    signal: list[float] = _source(count, sample_rate_hz)
    for formant in range(3):
        signal = _resonated(signal, formant, sample_rate_hz)
    loudest = max(map(abs, signal)) or 1.0
    samples = array("h", (round(_PEAK * value / loudest) for value in signal))
    return Audio(little_endian(samples), AudioFormat(Encoding.PCM16LE, sample_rate_hz))


def _source(count: int, rate_hz: int) -> list[float]:
    """Give what a throat would: pulses and breath, louder in the middle of a syllable."""
    found, phase, state = [], 0.0, 1
    for number in range(count):
        time_s = number / rate_hz
        state = (1_103_515_245 * state + 12_345) & 0x7FFFFFFF
        breath = state / 0x40000000 - 1.0
        wander = 0.14 * math.sin(3.7 * time_s) + 0.05 * math.sin(17.0 * time_s)
        phase = (phase + _PITCH_HZ * (1.0 + wander) / rate_hz) % 1.0
        loudness = 0.3 + 0.7 * abs(math.sin(math.pi * _SYLLABLES_PER_S * time_s))
        found.append(loudness * (1.0 - 2.0 * phase + _NOISE * breath))
    return found


def _resonated(signal: list[float], formant: int, rate_hz: int) -> list[float]:
    """Pass through one resonator (two poles), its frequency that of the syllable's vowel."""
    width = math.exp(-math.pi * _BANDWIDTHS_HZ[formant] / rate_hz)
    syllable = max(1, round(_SYLLABLE_S * rate_hz))
    found, before, earlier = [], 0.0, 0.0
    for start in range(0, len(signal), syllable):
        vowel = _VOWELS_HZ[(start // syllable * 3) % len(_VOWELS_HZ)]
        frequency_hz = min(vowel[formant], 0.45 * rate_hz)
        turn = 2.0 * width * math.cos(2.0 * math.pi * frequency_hz / rate_hz)
        for value in signal[start : start + syllable]:
            before, earlier = (1.0 - width) * value + turn * before - width**2 * earlier, before
            found.append(before)
    return found
