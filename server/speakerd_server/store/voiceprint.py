"""From recordings to a voiceprint: the weighted mean of their means, and cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from speakerd_server.enrolled import NewRecording, Voiceprint
from speakerd_server.values import Band

Float64 = NDArray[np.float64]

LARGEST_VALUE = 1e100
"""Far beyond any embedding, and low enough that no sum or square of means overflows."""


def check_recording(recording: NewRecording) -> None:
    """Raise ValueError where a recording cannot become part of a voiceprint."""
    total = recording.sum
    if total.dtype != np.float64 or total.ndim != 1 or total.size == 0:
        raise ValueError(f"the sum is {total.dtype}{list(total.shape)}, not float64[dim]")
    peak = np.abs(total).max()
    if not peak < LARGEST_VALUE:
        raise ValueError("the sum is not finite")
    if peak == 0.0:
        raise ValueError("the sum is zero")
    numbers = (recording.window_count, recording.speech_samples, recording.sample_rate_hz)
    if min(numbers) < 1:
        raise ValueError(f"windows, speech and rate are {numbers}; each must be at least 1")
    if not np.isfinite(recording.window_consistency):
        raise ValueError("the window consistency is not finite")


def mean_of(recording: NewRecording) -> Float64:
    """Give the mean of a recording's window embeddings: float64[dim], not length-normalised."""
    mean: Float64 = recording.sum / recording.window_count
    return mean


def direction(vector: Float64) -> Float64:
    """Give float64[dim] of length 1, or zeros (alike to nobody) for a vector of zeros."""
    peak = np.abs(vector).max()
    if peak == 0.0:
        return np.zeros_like(vector)
    # Scaled by its peak first, so that squares of very small values do not vanish.
    scaled: Float64 = vector / peak
    unit: Float64 = scaled / math.sqrt(scaled @ scaled)
    return unit


def voiceprint_of(recordings: Sequence[NewRecording]) -> Float64:
    """Give float64[dim] of length 1: the recordings' means weighted by seconds of net speech.

    Recordings that cancel each other out exactly give zeros. Needs at least one recording.
    """
    total = np.zeros(recordings[0].sum.size)
    for recording in recordings:
        total += recording.speech_samples / recording.sample_rate_hz * mean_of(recording)
    return direction(total)


def voiceprint_for(
    speaker_id: str, recordings: Sequence[NewRecording], expires_unix_s: float | None = None
) -> Voiceprint | None:
    """Give the voiceprint of recordings that are all of one model; None without any."""
    if not recordings:
        return None
    vector = voiceprint_of(recordings).astype(np.float32)
    vector.setflags(write=False)
    model, band = recordings[0].model, band_of(recordings)
    speech_samples = sum(recording.speech_samples for recording in recordings)
    return Voiceprint(speaker_id, model, vector, band, speech_samples, expires_unix_s)


def band_of(recordings: Sequence[NewRecording]) -> Band | None:
    """Give the band of most of the net speech whose band is known, wide where it is even."""
    seconds = dict.fromkeys(Band, 0.0)
    for recording in recordings:
        if recording.band is not None:
            seconds[recording.band] += recording.speech_samples / recording.sample_rate_hz
    band = max(Band, key=lambda one: seconds[one])
    return band if seconds[band] else None


def cosine(first: Float64, second: Float64) -> float:
    """Give the cosine in [-1, 1] of two float64[dim]; 0 where one of them is zeros."""
    return float(np.clip(direction(first) @ direction(second), -1.0, 1.0))
