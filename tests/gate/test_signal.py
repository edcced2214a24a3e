from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from speakerd_server.gate.frames import FRAME_SAMPLES
from speakerd_server.gate.settings import SegmentRule
from speakerd_server.gate.signal import GatedSignal, Speech, SpeechMap
from speakerd_server.values import Float32
from support.signals import noise

RULE = SegmentRule(begin_at=0.5, go_on_at=0.35, hangover_frames=2, minimum_frames=3)


def voice(frames: Float32) -> Float32:
    """Say that loud frames are voice."""
    return np.asarray(frames[:, 64:].std(axis=1) > 0.1, np.float32)


def heard(signal: Float32, at: list[int], stretch: int = 62) -> list[Speech]:
    gated, found = GatedSignal(RULE, stretch), []
    for start, end in zip([0, *at], [*at, len(signal)], strict=True):
        found += gated.absorb(voice(gated.push(signal[start:end])))
    return found + gated.absorb(voice(gated.end(signal[:0])))


def call(parts: list[tuple[float, int]]) -> Float32:
    """Make a signal of parts, each of a loudness and so many samples."""
    pieces = [loud * noise(samples, seed) for seed, (loud, samples) in enumerate(parts)]
    return np.concatenate([*pieces, np.empty(0, np.float32)]).astype(np.float32)


PARTS = st.lists(st.tuples(st.sampled_from([0.0, 0.05, 1.0]), st.integers(0, 4_000)), max_size=8)


@settings(max_examples=100, deadline=None)
@given(PARTS, st.lists(st.integers(0, 10_000), max_size=20))
def test_nothing_depends_on_where_the_samples_are_split(
    parts: list[tuple[float, int]], at: list[int]
) -> None:
    signal = call(parts)
    split = heard(signal, sorted(min(one, len(signal)) for one in at))
    joined = heard(signal, [])
    assert samples_of(split) == samples_of(joined)
    assert marks_of(split, signal) == marks_of(joined, signal)


def samples_of(found: list[Speech]) -> list[float]:
    samples: NDArray[np.float32] = np.concatenate(
        [np.empty(0, np.float32), *(one.samples for one in found)]
    )
    return [float(one) for one in samples]


def marks_of(found: list[Speech], signal: Float32) -> list[int]:
    stretch = 62 * FRAME_SAMPLES
    judged = [one.judged_samples for one in found]
    return sorted({one for one in judged if one % stretch == 0 and one < len(signal)})


@given(PARTS)
def test_speech_is_taken_out_of_the_signal_as_it_is(parts: list[tuple[float, int]]) -> None:
    signal = call(parts)
    for one in heard(signal, []):
        start = one.end_samples - len(one.samples)
        assert np.array_equal(one.samples, signal[start : one.end_samples])


def test_a_day_of_silence_and_noise_is_not_remembered() -> None:
    gated = GatedSignal(RULE, 62)
    second = np.concatenate([np.zeros(8_000, np.float32), 0.01 * noise(8_000)]).astype(np.float32)
    for _ in range(24 * 60):
        frames = gated.push(np.tile(second, 60))
        assert not gated.absorb(np.zeros(len(frames), np.float32))[0].samples.size
        assert gated.undecided_samples <= 2 * FRAME_SAMPLES
        assert len(gated._kept) < 2_000
    assert gated.samples == 24 * 3600 * 16_000


def test_the_map_finds_speech_in_its_signal() -> None:
    places = SpeechMap()
    places.add(100, 1_000)
    places.add(300, 5_000)
    assert [places.signal_samples(one) for one in (1, 100, 101, 300)] == [901, 1_000, 4_801, 5_000]
