from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio, SpeakerdError
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import LONGEST_WINDOW_SAMPLES
from speakerd_server.windows.slicer import Slicer
from speakerd_server.windows.whole import whole_window
from support.signals import noise


def sliced(samples: Float32, min_frames: int) -> Window:
    slicer = Slicer(-1, min_frames, LONGEST_WINDOW_SAMPLES)
    assert slicer.push(samples) == []
    (window,) = slicer.end()
    return window


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 6_000), st.integers(1, 12))
@example(LONGEST_WINDOW_SAMPLES, 3)
@example(LONGEST_WINDOW_SAMPLES + 1, 3)
def test_it_is_the_one_window_that_a_slicer_gives(samples: int, min_frames: int) -> None:
    signal = noise(samples)
    expected: Window | SpeakerdError
    try:
        expected = sliced(signal, min_frames)
    except SpeakerdError as error:
        expected = error
    if isinstance(expected, SpeakerdError):
        with pytest.raises(type(expected)):
            whole_window(signal, min_frames)
        return
    found = whole_window(signal, min_frames)
    assert np.array_equal(found.pcm, expected.pcm)
    assert np.array_equal(found.rows, expected.rows)
    assert (found.index, found.end_samples) == (0, expected.end_samples)
    assert np.shares_memory(found.pcm, signal)


def test_what_is_no_window_is_refused_with_its_numbers() -> None:
    with pytest.raises(NoAudio):
        whole_window(noise(0), 3)
    with pytest.raises(AudioTooShort) as short:
        whole_window(noise(719), 3)
    assert (short.value.samples, short.value.needed_samples) == (719, 720)
    with pytest.raises(AudioTooLong) as long:
        whole_window(np.zeros(LONGEST_WINDOW_SAMPLES + 1, np.float32), 3)
    assert long.value.limit_s == 60.0


def test_rows_that_windows_share_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        whole_window(noise(1000), 3).rows[0] = 1
