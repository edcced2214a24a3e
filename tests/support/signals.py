"""Signals, their bytes and every way of splitting them; a card and an embedding to go with them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.cards import Calibration, Card, FrontEndDescription
from speakerd_server.values import Encoding, Float32, ModelIdentity, Window

DIM = 6
RATES_HZ = (8_000, 11_025, 16_000, 44_100, 48_000)


def card(samples_per_chunk: int = 32_000) -> Card:
    return Card(
        identity=ModelIdentity("fake", "1", "none"),
        sample_rate_hz=16_000,
        dim=DIM,
        samples_per_chunk=samples_per_chunk,
        min_frames=3,
        precision="float32",
        licence="Apache-2.0",
        origin="made for tests",
        sha256="0" * 64,
        front_end=FrontEndDescription("none", 1.0, "povey"),
        calibration=Calibration(0.5, 0.3, "made for tests"),
    )


def noise(samples: int, seed: int = 0) -> Float32:
    """Give float32[n], uniform in [-0.5, 0.5]: something that varies everywhere."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def tone(samples: int, frequency_hz: float, rate_hz: int = 16_000) -> Float32:
    wave = 0.5 * np.sin(2 * np.pi * frequency_hz * np.arange(samples) / rate_hz)
    return wave.astype(np.float32)


def to_bytes(samples: Float32, encoding: Encoding) -> bytes:
    """Write samples; for the G.711 laws any bytes are audio, so loudness becomes a code."""
    match encoding:
        case Encoding.PCM16LE:
            return np.rint(samples * 32_767).astype("<i2").tobytes()
        case Encoding.FLOAT32LE:
            return samples.astype("<f4").tobytes()
        case Encoding.MULAW | Encoding.ALAW:
            return np.rint(samples * 127 + 128).astype(np.uint8).tobytes()


def splits(length: int) -> st.SearchStrategy[list[int]]:
    """Give the places at which so many bytes are split: anywhere, evenly, or after each byte."""
    anywhere = st.lists(st.integers(0, length), max_size=30).map(sorted)
    evenly = st.integers(1, 97).map(lambda step: list(range(step, length, step)))
    return st.one_of(anywhere, evenly, st.just(list(range(1, length))))


def pieces(whole: bytes, at: list[int]) -> Iterator[bytes]:
    for start, end in zip([0, *at], [*at, len(whole)], strict=True):
        yield whole[start:end]


def frames_of(window: Window) -> Float32:
    """Give float32[T, 400]: the frames that the rows of a window pick."""
    frames: Float32 = np.stack([window.pcm[160 * r : 160 * r + 400] for r in window.rows])
    return frames


def embed(window: Window) -> Float32:
    """Give float32[DIM]: a made-up embedding that depends on every sample used."""
    weights = np.random.default_rng(7).standard_normal((400, DIM))
    mean: NDArray[np.float64] = np.abs(frames_of(window).astype(np.float64)).mean(0)
    return (mean @ weights + 0.1).astype(np.float32)
