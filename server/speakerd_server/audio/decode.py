"""Wire bytes -> float32 samples, whatever the encoding and wherever the bytes are split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.errors import (
    AudioIncompleteSample,
    AudioNotFinite,
    AudioOutOfRange,
    SampleRateUnsupported,
)
from speakerd_server.values import AudioFormat, Encoding, Float32

LOWEST_RATE_HZ = 8_000
HIGHEST_RATE_HZ = 48_000
LARGEST_SAMPLE = 32_768.0
"""Largest float taken: integers that were stored as floats reach it, nothing sane exceeds it."""

Numbers = NDArray[Any]
"""As they are in the bytes."""
_STEP = np.float32(1 / 32_768)


def check_format(audio_format: AudioFormat) -> None:
    """Raise SampleRateUnsupported outside of 8000 to 48000 Hz."""
    rate_hz = audio_format.sample_rate_hz
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise SampleRateUnsupported(rate_hz, LOWEST_RATE_HZ, HIGHEST_RATE_HZ)


class Decoder:
    """Reads one channel of the bytes of one signal; keeps those of a split sample, nothing else.

    Raises SampleRateUnsupported for a format that check_format refuses.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        check_format(audio_format)
        self._encoding = audio_format.encoding
        self._sample_bytes = audio_format.sample_bytes
        self._channels, self._channel = audio_format.channels, audio_format.channel
        self._kind = _KINDS[audio_format.encoding]
        self._decode = _DECODERS[audio_format.encoding]
        self._rest = b""
        self._samples = 0

    @property
    def samples(self) -> int:
        """Whole samples decoded so far."""
        return self._samples

    def push(self, chunk: bytes) -> Float32:
        """Decode the next bytes.

        Returns float32[n], full scale 1.0, possibly empty; it may share the chunk's memory.
        Raises AudioNotFinite and AudioOutOfRange, with the sample's index from audio start.
        """
        if self._rest:
            chunk = self._rest + chunk
        count, extra_bytes = divmod(len(chunk), self._sample_bytes)
        self._rest = chunk[len(chunk) - extra_bytes :]
        if not count:
            return np.empty(0, np.float32)
        numbers = np.frombuffer(chunk, self._kind, count * self._channels)
        if self._channels > 1:
            numbers = numbers[self._channel - 1 :: self._channels]
        samples = self._decode(numbers, self._samples)
        self._samples += count
        return samples

    def end(self) -> None:
        """Raise AudioIncompleteSample when the audio ended inside a sample."""
        if self._rest:
            raise AudioIncompleteSample(len(self._rest), self._sample_bytes, self._encoding.value)


def _mulaw_table() -> Float32:
    """Give float32[256]: ITU-T G.711 table 2, the 14-bit values on the 16-bit scale / 32768."""
    code = ~np.arange(256) & 0xFF
    segment, step = code >> 4 & 7, code & 15
    magnitude = ((2 * step + 33) << segment) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4 / 32_768).astype(np.float32)


def _alaw_table() -> Float32:
    """Give float32[256]: ITU-T G.711 table 1, the 13-bit values on the 16-bit scale / 32768."""
    code = np.arange(256) ^ 0x55
    segment, step = code >> 4 & 7, code & 15
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8 / 32_768).astype(np.float32)


def _pcm16(numbers: Numbers, _start: int) -> Float32:
    samples: Float32 = np.multiply(numbers, _STEP, dtype=np.float32)
    return samples


def _float32(numbers: Numbers, start: int) -> Float32:
    samples: Float32 = np.ascontiguousarray(numbers, np.float32)
    check_samples(samples, start)
    return samples


def check_samples(samples: Float32, start: int = 0) -> float:
    """Give how far float32[n], n > 0, goes from zero; `start` is the index of the first.

    Raises AudioNotFinite and AudioOutOfRange.
    """
    with np.errstate(invalid="ignore"):
        # A NaN makes both extremes NaN, so that the comparison is false for it as well.
        highest, lowest = float(samples.max()), float(samples.min())
    if not (highest <= LARGEST_SAMPLE and lowest >= -LARGEST_SAMPLE):
        raise _first_wrong(samples, start)
    return max(highest, -lowest)


def _first_wrong(samples: Float32, start: int) -> AudioNotFinite | AudioOutOfRange:
    index = int(np.argmin(np.abs(samples) <= LARGEST_SAMPLE))
    value = float(samples[index])
    if np.isfinite(value):
        return AudioOutOfRange(start + index, value, LARGEST_SAMPLE)
    return AudioNotFinite(start + index)


def _by_table(table: Float32) -> Callable[[Numbers, int], Float32]:
    def decode(numbers: Numbers, _start: int) -> Float32:
        return table.take(numbers)

    return decode


_KINDS: Mapping[Encoding, str] = {
    Encoding.PCM16LE: "<i2",
    Encoding.FLOAT32LE: "<f4",
    Encoding.MULAW: "u1",
    Encoding.ALAW: "u1",
}
_DECODERS: Mapping[Encoding, Callable[[Numbers, int], Float32]] = {
    Encoding.PCM16LE: _pcm16,
    Encoding.FLOAT32LE: _float32,
    Encoding.MULAW: _by_table(_mulaw_table()),
    Encoding.ALAW: _by_table(_alaw_table()),
}
