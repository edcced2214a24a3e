from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.values import Float32, Window
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.variance import varies
from support.signals import noise, tone

HALF_STEP = 2.0**-16


def windows(signal: Float32, samples_per_chunk: int = 32_000) -> list[Window]:
    slicer = Slicer(samples_per_chunk, 3)
    return [*slicer.push(signal), *slicer.end()]


def any_varies(signal: Float32, samples_per_chunk: int = 32_000) -> bool:
    return any(varies(window) for window in windows(signal, samples_per_chunk))


@pytest.mark.parametrize("samples_per_chunk", [-1, 720, 2_000, 32_000])
@pytest.mark.parametrize("samples", [720, 2_000, 40_000])
@pytest.mark.parametrize("value", [0.0, 1e-3, -1.0, 32_768.0])
def test_silence_and_constants_do_not_vary(
    samples_per_chunk: int, samples: int, value: float
) -> None:
    assert not any_varies(np.full(samples, value, np.float32), samples_per_chunk)


@pytest.mark.parametrize("samples_per_chunk", [-1, 720, 2_000, 32_000])
def test_one_frame_repeated_does_not_vary(samples_per_chunk: int) -> None:
    assert not any_varies(np.tile(noise(160), 251), samples_per_chunk)
    assert not any_varies(tone(40_000, 100), samples_per_chunk)


def test_a_single_frame_that_fills_a_window_does_not_vary() -> None:
    assert not any_varies(noise(559))
    assert any_varies(noise(560))


@pytest.mark.parametrize("samples", [720, 32_000, 40_000])
def test_rounding_noise_does_not_pass_as_voice(samples: int) -> None:
    jitter = noise(samples) * np.float32(HALF_STEP / 2)
    assert not any_varies(jitter)
    assert not any_varies(jitter + np.float32(0.25))


def test_more_than_sixteen_16_bit_steps_in_one_sample_are_variance() -> None:
    for at in (0, 159, 160, 20_000, 31_919):
        signal = np.zeros(31_920, np.float32)
        signal[at] = 17 * 2.0**-15
        assert varies(windows(signal)[0]), at
        signal[at] = 16 * 2.0**-15
        assert not varies(windows(signal)[0]), at


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 8]))
def test_clicks_dither_and_the_idle_noise_of_a_line_are_no_voice(seed: int, steps: int) -> None:
    generator = np.random.default_rng(seed)
    idle = generator.integers(-steps, steps + 1, 31_920).astype(np.float32) * np.float32(2.0**-15)
    assert not varies(windows(idle)[0])
    clicks = np.zeros(31_920, np.float32)
    clicks[generator.integers(0, 31_920, 2)] = 2.0**-15
    assert not varies(windows(clicks)[0])


def test_a_slow_drift_adds_up_to_variance() -> None:
    assert varies(windows(np.linspace(0, 1e-3, 32_000, dtype=np.float32))[0])


@pytest.mark.parametrize("frequency_hz", [99, 101, 150, 440])
def test_a_tone_that_does_not_fit_ten_milliseconds_varies(frequency_hz: int) -> None:
    assert varies(windows(tone(32_000, frequency_hz))[0])


def test_only_the_samples_that_rows_use_are_looked_at() -> None:
    pcm = np.zeros(2_000, np.float32)
    pcm[560:960] = 0.5
    assert not varies(Window(0, pcm, np.array([0, 1, 6, 7, 8]), 0))
    assert varies(Window(0, pcm, np.array([0, 1, 2, 6]), 0))


def test_the_gap_of_a_tail_is_not_variance_but_another_head_is() -> None:
    tail = np.full(400, 0.25, np.float32)
    constant = windows(np.full(31_680 + 400, 0.25, np.float32))[1]
    assert not varies(constant)
    other = windows(np.concatenate([np.zeros(31_680, np.float32), tail]))
    assert varies(other[1])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_agrees_with_frames_laid_side_by_side(data: st.DataObject) -> None:
    kinds = [np.zeros(160), np.ones(160), noise(160), noise(160, seed=1)]
    blocks = data.draw(st.lists(st.sampled_from(range(4)), min_size=5, max_size=12))
    pcm = np.concatenate([kinds[b] for b in blocks]).astype(np.float32)
    last = (len(pcm) - 400) // 160
    rows = np.array(data.draw(st.lists(st.integers(0, last), min_size=1, max_size=8)))
    frames = np.stack([pcm[160 * r : 160 * r + 400] for r in rows])
    assert varies(Window(0, pcm, rows, 0)) == bool((frames != frames[0]).any())
