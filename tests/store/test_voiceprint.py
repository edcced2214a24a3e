from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from speakerd_server.enrolled import NewRecording
from speakerd_server.store.voiceprint import (
    LARGEST_VALUE,
    band_of,
    check_recording,
    cosine,
    direction,
    mean_of,
    voiceprint_of,
)
from speakerd_server.values import Band
from support.recordings import recording

VALUES = st.floats(-LARGEST_VALUE, LARGEST_VALUE, exclude_min=True, exclude_max=True)
VECTORS = st_numpy.arrays(np.float64, 4, elements=VALUES)
RECORDINGS = st.builds(
    lambda total, windows, speech_samples, rate_hz: dataclasses.replace(
        recording(0),
        sum=total,
        window_count=windows,
        speech_samples=speech_samples,
        sample_rate_hz=rate_hz,
    ),
    VECTORS.filter(lambda values: bool(values.any())),
    st.integers(1, 10_000),
    st.integers(1, 10_000_000),
    st.integers(8_000, 48_000),
)


def test_a_voiceprint_weights_the_mean_of_each_recording_by_its_seconds() -> None:
    first = dataclasses.replace(
        recording(0), sum=np.array([4.0, 0.0]), window_count=4, speech_samples=3 * 16_000
    )
    second = dataclasses.replace(
        recording(0), sum=np.array([0.0, 2.0]), window_count=1, speech_samples=2 * 16_000
    )
    eight_khz = dataclasses.replace(second, speech_samples=2 * 8_000, sample_rate_hz=8_000)
    expected = np.array([3.0, 4.0]) / 5
    np.testing.assert_allclose(voiceprint_of([first, second]), expected, rtol=1e-15)
    np.testing.assert_allclose(voiceprint_of([first, eight_khz]), expected, rtol=1e-15)


@given(st.lists(RECORDINGS, min_size=1, max_size=4))
def test_every_set_of_allowed_recordings_has_a_finite_voiceprint(
    recordings: list[NewRecording],
) -> None:
    for one in recordings:
        check_recording(one)
    voiceprint = voiceprint_of(recordings)
    assert np.linalg.norm(voiceprint) == pytest.approx(1.0) or not voiceprint.any()


def test_recordings_that_cancel_out_are_alike_to_nobody() -> None:
    against = dataclasses.replace(recording(1), sum=-recording(1).sum)
    voiceprint = voiceprint_of([recording(1), against])
    assert not voiceprint.any()
    assert cosine(voiceprint, recording(1).sum) == 0.0


@given(VECTORS, VECTORS)
def test_a_cosine_is_never_beyond_one(first: Any, second: Any) -> None:
    assert -1.0 <= cosine(first, second) <= 1.0


def test_a_cosine_does_not_depend_on_length() -> None:
    mean = mean_of(recording(1))
    assert cosine(mean, 1e-300 * mean) == pytest.approx(1.0)
    assert cosine(mean, -7.0 * mean) == pytest.approx(-1.0)
    np.testing.assert_allclose(direction(np.array([3e-320, 4e-320])), [0.6, 0.8], rtol=1e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sum": np.zeros(4)},
        {"sum": np.array([1.0, np.nan])},
        {"sum": np.array([1.0, -np.inf])},
        {"sum": np.array([1.0, LARGEST_VALUE])},
        {"sum": np.ones((2, 2))},
        {"sum": np.ones(0)},
        {"sum": np.ones(4, np.float32)},
        {"window_count": 0},
        {"speech_samples": 0},
        {"sample_rate_hz": -1},
        {"window_consistency": float("nan")},
    ],
)
def test_a_recording_that_cannot_be_compared_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sum|least 1|consistency"):
        check_recording(dataclasses.replace(recording(1), **wrong))


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ([None], None),
        ([None, Band.NARROW], Band.NARROW),
        ([Band.WIDE, Band.NARROW, Band.NARROW], Band.NARROW),
        ([Band.NARROW, Band.WIDE], Band.WIDE),
    ],
)
def test_the_band_is_that_of_most_speech(bands: list[Band | None], expected: Band | None) -> None:
    recordings = [replace(recording(seed), band=band) for seed, band in enumerate(bands)]
    assert band_of(recordings) is expected


def test_seconds_count_and_not_recordings() -> None:
    long = replace(recording(1, speech_samples=64_000), band=Band.WIDE)
    short = replace(recording(2, speech_samples=16_000), band=Band.NARROW)
    assert band_of([long, short, short, short]) is Band.WIDE
