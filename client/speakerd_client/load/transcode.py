"""Recordings in the encoding and at the rate that a load asks for; done once, before it starts."""

from __future__ import annotations

import math
import sys
from array import array

from speakerd_client.audio import Audio, AudioFormat, Encoding
from speakerd_client.errors import AudioFileError
from speakerd_client.load import g711

_FULL_SCALE = 32_768


def in_format(audio: Audio, wanted: AudioFormat, name: str) -> Audio:
    """Give `audio` in the wanted format; what is in it already is not touched.

    PCM16LE and floats become one another by a factor of 32768, rounded and clipped; a changed rate
    goes through soxr, and so through 16 bits.

    Raises:
        AudioFileError: The rate is another one and the extra `load` (soxr) is not installed, or a
            float sample is no number; `name` says of which recording.
    """
    if audio.format.sample_rate_hz != wanted.sample_rate_hz:
        audio = _at_rate(audio, wanted.sample_rate_hz, name)
    if audio.format.encoding is wanted.encoding:
        return audio
    samples = _pcm16(audio, name)
    match wanted.encoding:
        case Encoding.MULAW:
            content = g711.mulaw_of(samples)
        case Encoding.ALAW:
            content = g711.alaw_of(samples)
        case Encoding.FLOAT32LE:
            floats = array("f", (sample / _FULL_SCALE for sample in samples))
            content = g711.little_endian(floats)
        case Encoding.PCM16LE:
            content = g711.little_endian(samples)
    return Audio(content, wanted)


def _pcm16(audio: Audio, name: str) -> array[int]:
    """Decode to 16-bit samples; an incomplete last sample is left out."""
    whole = len(audio.content) - len(audio.content) % audio.format.encoding.sample_bytes
    content = audio.content[:whole]
    match audio.format.encoding:
        case Encoding.MULAW:
            return array("h", map(g711.mulaw_values().__getitem__, content))
        case Encoding.ALAW:
            return array("h", map(g711.alaw_values().__getitem__, content))
        case Encoding.FLOAT32LE:
            return array("h", (_clipped(value, name) for value in _native("f", content)))
        case Encoding.PCM16LE:
            return _native("h", content)


def _native(kind: str, content: bytes) -> array[int]:
    """Read little-endian numbers."""
    numbers: array[int] = array(kind, content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _clipped(value: float, name: str) -> int:
    if not math.isfinite(value):
        raise AudioFileError(f"{name}: it has a sample that is no number; mend the file")
    return max(-_FULL_SCALE, min(_FULL_SCALE - 1, round(_FULL_SCALE * value)))


def _at_rate(audio: Audio, rate_hz: int, name: str) -> Audio:
    """Resample with soxr, to PCM16LE."""
    try:
        import numpy as np
        import soxr  # type: ignore[import-untyped]
    except ImportError as error:
        raise AudioFileError(
            f"{name}: it has {audio.format.sample_rate_hz} Hz and {rate_hz} Hz are wanted; leave"
            f" --rate out, convert it (sox IN -r {rate_hz} OUT), or pip install"
            " 'speakerd-client[load]'"
        ) from error
    signal = np.frombuffer(_pcm16(audio, name), np.int16).astype(np.float32)
    resampled = soxr.resample(signal, audio.format.sample_rate_hz, rate_hz, quality="HQ")
    clipped = np.clip(np.rint(resampled), -_FULL_SCALE, _FULL_SCALE - 1)
    return Audio(clipped.astype("<i2").tobytes(), AudioFormat(Encoding.PCM16LE, rate_hz))
