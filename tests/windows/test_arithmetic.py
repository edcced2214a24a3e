from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.errors import SamplesPerChunkInvalid
from speakerd_server.windows.arithmetic import (
    check_samples_per_chunk,
    frame_count,
    frames_per_window,
    hop_samples,
    lowest_samples_per_chunk,
    samples_of_frames,
)
from support.signals import card


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(0, 0), (1, 0), (399, 0), (400, 1), (559, 1), (560, 2), (720, 3), (16_000, 98)],
)
def test_frames_lie_wholly_inside_the_signal(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames


@given(st.integers(400, 5_000))
def test_the_frame_count_is_that_of_a_sliding_window(samples: int) -> None:
    slid = np.lib.stride_tricks.sliding_window_view(np.zeros(samples), 400)[::160]
    assert frame_count(samples) == len(slid)


@pytest.mark.parametrize(
    ("samples_per_chunk", "frames", "hop"), [(32_000, 198, 31_680), (48_000, 298, 47_680)]
)
def test_windows_have_the_seeds_frames_and_hop(
    samples_per_chunk: int, frames: int, hop: int
) -> None:
    assert frames_per_window(samples_per_chunk) == frames
    assert hop_samples(samples_per_chunk) == hop


@given(st.integers(1, 6_000))
def test_so_many_frames_need_exactly_so_many_samples(frames: int) -> None:
    assert frame_count(samples_of_frames(frames)) == frames
    assert frame_count(samples_of_frames(frames) - 1) == frames - 1


@pytest.mark.parametrize("wrong", [0, -2, -32_000, 1, 719, 960_001, 10**12])
def test_window_lengths_that_the_network_cannot_take_are_refused(wrong: int) -> None:
    with pytest.raises(SamplesPerChunkInvalid, match=r"720 to 960000, or -1") as caught:
        check_samples_per_chunk(wrong, card())
    assert (caught.value.value, caught.value.lowest, caught.value.highest) == (wrong, 720, 960_000)


@pytest.mark.parametrize("right", [-1, 720, 32_000, 960_000])
def test_other_window_lengths_are_taken(right: int) -> None:
    check_samples_per_chunk(right, card())
    assert lowest_samples_per_chunk(card()) == 720
