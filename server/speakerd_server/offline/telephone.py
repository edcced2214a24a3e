"""Speech as a telephone line would deliver it: narrow-band mu-law, noise, lost packets.

For measuring and calibrating: what has a seed is the same every time.
"""

from __future__ import annotations

import numpy as np
import soxr  # type: ignore[import-untyped]

from speakerd_server.audio.decode import Decoder
from speakerd_server.values import AudioFormat, Encoding, Float32

LINE_RATE_HZ = 8_000
PACKET_SAMPLES = 160
"""20 ms, as RTP carries G.711."""
LINE_FORMAT = AudioFormat(Encoding.MULAW, LINE_RATE_HZ)

_FADE_PACKETS = 3
"""Lost packets in a row after which a concealed gap is silent: 60 ms, as in G.711 Appendix I."""
_SHORTEST_PITCH, _LONGEST_PITCH = 40, 120
"""Samples of one period at 8 kHz: 200 Hz to 66 Hz, as in G.711 Appendix I."""


def to_line(samples: Float32, rate_hz: int) -> bytes:
    """Encode float32[n], full scale 1.0, as mu-law at 8 kHz, `LINE_FORMAT`."""
    narrow = soxr.resample(samples, rate_hz, LINE_RATE_HZ, quality="HQ")
    values = _values()
    order = np.argsort(values, kind="stable")
    steps = values[order]
    nearest = np.searchsorted((steps[1:] + steps[:-1]) / 2, narrow)
    content: bytes = order[nearest].astype(np.uint8).tobytes()
    return content


def from_line(content: bytes) -> Float32:
    """Decode mu-law to float32[n] at 8 kHz."""
    return _values()[np.frombuffer(content, np.uint8)]


def with_noise(samples: Float32, snr_db: float, seed: int) -> Float32:
    """Add white noise at a ratio, in dB, of the power of all of float32[n] to that of the noise."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    noise *= np.sqrt(power / 10 ** (snr_db / 10))
    return (samples + noise).astype(np.float32)


def with_losses(content: bytes, share: float, seed: int, *, concealed: bool) -> bytes:
    """Lose a share of the packets of mu-law at 8 kHz, each by itself.

    Not concealed, a lost packet is silence. Concealed, the last period of the voice goes on, ever
    quieter, which is what G.711 Appendix I does, without its overlapping at the edges.
    """
    lost = np.random.default_rng(seed).random(-(-len(content) // PACKET_SAMPLES)) < share
    silence = bytes([0xFF]) * PACKET_SAMPLES
    out, in_a_row = bytearray(), 0
    for number, is_lost in enumerate(lost):
        packet = content[number * PACKET_SAMPLES : (number + 1) * PACKET_SAMPLES]
        in_a_row = in_a_row + 1 if is_lost else 0
        if is_lost:
            repaired = _continued(bytes(out), in_a_row) if concealed else silence
            packet = repaired[: len(packet)]
        out += packet
    return bytes(out)


def _continued(heard: bytes, lost_in_a_row: int) -> bytes:
    """Give one packet that goes on as the voice before it did."""
    history = from_line(heard[-2 * _LONGEST_PITCH :])
    gain = max(0.0, 1.0 - (lost_in_a_row - 1) / _FADE_PACKETS)
    if len(history) < 2 * _LONGEST_PITCH or not gain:
        return bytes([0xFF]) * PACKET_SAMPLES
    recent = history[-_LONGEST_PITCH:]
    lags = range(_SHORTEST_PITCH, _LONGEST_PITCH + 1)
    alike = [float(recent @ history[-_LONGEST_PITCH - lag : len(history) - lag]) for lag in lags]
    period = history[-lags[int(np.argmax(alike))] :]
    return to_line(np.resize(period, PACKET_SAMPLES) * np.float32(gain), LINE_RATE_HZ)


def _values() -> Float32:
    """Give float32[256], the sample of each code."""
    return Decoder(LINE_FORMAT).push(bytes(range(256)))
