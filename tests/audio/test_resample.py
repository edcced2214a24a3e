from __future__ import annotations

import numpy as np
import pytest
import soxr  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.audio.resample import Resampler
from speakerd_server.values import Float32
from support.signals import noise, tone

RATES_HZ = (8_000, 11_025, 12_345, 22_050, 44_100, 48_000)


def resampled(samples: Float32, from_hz: int, at: list[int]) -> Float32:
    resampler = Resampler(from_hz, 16_000)
    out = [resampler.push(piece) for piece in np.split(samples, at)]
    return np.concatenate([*out, resampler.end()])


@settings(max_examples=50, deadline=None)
@given(st.sampled_from((*RATES_HZ, 16_000)), st.integers(0, 9_000), st.data())
def test_where_the_samples_are_split_never_matters(
    from_hz: int, samples: int, data: st.DataObject
) -> None:
    signal = noise(samples, seed=from_hz)
    at = sorted(data.draw(st.lists(st.integers(0, samples), max_size=20)))
    assert np.array_equal(resampled(signal, from_hz, at), resampled(signal, from_hz, []))


@pytest.mark.parametrize("from_hz", [8_000, 44_100])
def test_single_samples_give_what_the_whole_gives(from_hz: int) -> None:
    signal = noise(2 * from_hz // 10 + 3)
    every = list(range(1, len(signal)))
    assert np.array_equal(resampled(signal, from_hz, every), resampled(signal, from_hz, []))


def test_equal_rates_pass_bit_for_bit() -> None:
    signal = noise(5_000) * 1e-20
    assert np.array_equal(resampled(signal, 16_000, [1, 2, 999]), signal)


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("samples", [0, 1, 2, 799, 800, 801, 4_410, 20_001])
def test_the_length_is_the_ratios_rounded_half_up(from_hz: int, samples: int) -> None:
    length = len(resampled(noise(samples), from_hz, []))
    assert length == (samples * 32_000 + from_hz) // (2 * from_hz)


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_away_from_the_edges_it_is_soxrs_own_answer(from_hz: int) -> None:
    signal = noise(from_hz)
    ours = resampled(signal, from_hz, [])
    theirs = soxr.resample(signal, from_hz, 16_000, quality="HQ")
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs)[800:-800].max() < 1e-5


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_a_tone_stays_that_tone_at_its_place_in_time(from_hz: int) -> None:
    ours = resampled(tone(from_hz, 440, from_hz), from_hz, [])
    assert np.abs(ours - tone(len(ours), 440))[400:-400].max() < 1e-4


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("value", [0.0, 0.25, -1.0, 1 / 3, 32_000.0])
def test_a_constant_stays_exactly_constant_up_to_its_edges(from_hz: int, value: float) -> None:
    ours = resampled(np.full(from_hz // 4, value, np.float32), from_hz, [])
    assert (ours == np.float32(value)).all()


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_extreme_samples_stay_finite(from_hz: int) -> None:
    signal = np.sign(noise(from_hz // 2)) * np.float32(32_768)
    assert np.isfinite(resampled(signal, from_hz, [])).all()


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_samples_come_out_while_more_go_in(from_hz: int) -> None:
    resampler = Resampler(from_hz, 16_000)
    given_samples = len(resampler.push(noise(from_hz)))
    assert 16_000 * 0.75 < given_samples <= 16_000


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_a_signal_that_ends_on_another_level_does_not_ring_at_its_end(from_hz: int) -> None:
    signal = np.repeat(np.array([0.1, -0.6], np.float32), from_hz // 4)
    ours = resampled(signal, from_hz, [])
    assert np.abs(ours[:3_000] - np.float32(0.1)).max() < 1e-4
    assert np.abs(ours[-3_000:] + np.float32(0.6)).max() < 1e-4
