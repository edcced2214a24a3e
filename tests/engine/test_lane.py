"""Lanes over a program that computes like `FakeBackend`, in the processor's memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lane import (
    Lane,
    LaneMemory,
    LaneSizes,
    bucket_of,
    buckets,
    lane_memory,
)
from speakerd_server.engine.long_windows import averaged, buffer_samples, laid_out, runs
from speakerd_server.engine.place import HostPlace
from speakerd_server.values import Window
from support.sounds import DIM, batch, fake_embedding, window

SIZES = LaneSizes(dim=DIM, window_frames=20, batch_windows=6, longest_frames=50)


class FakeProgram:
    """Embeds a lane's memory by a `FakeBackend`, in buckets."""

    def __init__(self, memory: LaneMemory, sizes: LaneSizes) -> None:
        self._memory, self._sizes, self._backend = memory, sizes, FakeBackend(sizes.dim)
        self.steps: list[tuple[int, int]] = []
        self.closed = False

    def padded(self, windows: int, frames: int) -> int:
        usual = frames == self._sizes.window_frames
        return bucket_of(windows, buckets(self._sizes.batch_windows)) if usual else windows

    def run(self, windows: int, frames: int) -> None:
        self.steps.append((windows, frames))
        samples = buffer_samples(frames)
        pcm = self._memory.pcm.host[: windows * samples].reshape(windows, samples)
        rows = self._memory.rows.host[: windows * frames].reshape(windows, frames)
        assert 0 <= rows.min() <= rows.max() <= (samples - 400) // 160
        embeddings = self._backend.embed(pcm, rows)
        self._memory.embeddings.host[: embeddings.size] = embeddings.ravel()

    def close(self) -> None:
        self.closed = True


def lane(sizes: LaneSizes = SIZES) -> tuple[Lane, FakeProgram]:
    place = HostPlace()
    memory = lane_memory(place, sizes)
    program = FakeProgram(memory, sizes)
    return Lane(place, memory, program, sizes), program


def test_usual_windows_are_computed_in_the_lanes_own_memory_in_buckets() -> None:
    made, program = lane()
    pcm, rows = made.buffers(5, 160 * 19 + 400, 20)
    again, _ = made.buffers(5, 160 * 19 + 400, 20)
    assert pcm.ctypes.data == again.ctypes.data
    assert (pcm.shape, rows.shape) == ((5, buffer_samples(20)), (5, 20))
    windows = [window(20, seed) for seed in range(5)]
    for found, one in zip(embed_windows(made, windows, DIM), windows, strict=True):
        np.testing.assert_array_equal(found, fake_embedding(one))
    assert program.steps == [(6, 20)]


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from([3, 19, 20, 21, 50])), max_size=8))
def test_no_batch_is_touched_by_what_the_memory_held_before(
    batches: list[tuple[int, int]],
) -> None:
    made, _ = lane()
    for count, frames in batches:
        windows = [window(frames, seed) for seed in range(count)]
        for found, one in zip(embed_windows(made, windows, DIM), windows, strict=True):
            np.testing.assert_array_equal(found, fake_embedding(one))


def test_what_is_too_much_for_one_step_is_computed_in_several() -> None:
    made, program = lane()
    windows = [window(20, seed) for seed in range(14)]
    for found, one in zip(embed_windows(made, windows, DIM), windows, strict=True):
        np.testing.assert_array_equal(found, fake_embedding(one))
    assert program.steps == [(6, 20), (6, 20), (2, 20)]
    program.steps.clear()
    embed_windows(made, [window(40, seed) for seed in range(5)], DIM)
    assert program.steps == [(SIZES.other_windows, 40), (SIZES.other_windows, 40), (1, 40)]


def test_a_window_that_is_too_long_is_the_mean_of_its_runs() -> None:
    made, program = lane()
    one = window(120)
    (found,) = embed_windows(made, [one], DIM)
    assert isinstance(found, np.ndarray)
    parts = runs(120, SIZES.longest_frames)
    pieces = [laid_out(one.pcm, one.rows[part]) for part in parts]
    alone = [fake_embedding(Window(0, pcm, rows, 0)) for pcm, rows in pieces]
    np.testing.assert_allclose(found, averaged(np.stack(alone), parts), rtol=1e-6)
    assert program.steps == [(1, 40), (1, 40), (1, 40)]


def test_an_embedding_is_not_changed_by_the_next_batch() -> None:
    made, _ = lane()
    first = made.embed(*batch(2, 20))
    kept = first.copy()
    pcm, rows = batch(3, 20)
    made.embed(pcm[1:], rows[1:])
    np.testing.assert_array_equal(first, kept)


def test_closing_lets_the_program_go() -> None:
    made, program = lane()
    made.close()
    assert program.closed


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (64, (1, 2, 4, 8, 16, 32, 64))]
)
def test_buckets_double_up_to_the_most(most: int, sizes: tuple[int, ...]) -> None:
    assert buckets(most) == sizes
    for windows in range(1, most + 1):
        assert windows <= bucket_of(windows, sizes) < max(2 * windows, 2)


@given(st.integers(1, 256), st.integers(3, 6000), st.integers(0, 6000))
def test_the_memory_of_long_windows_is_no_more_than_that_of_a_full_batch(
    most: int, usual: int, more: int
) -> None:
    sizes = LaneSizes(DIM, usual, most, usual + more)
    longest = sizes.other_windows * buffer_samples(sizes.longest_frames)
    full = most * buffer_samples(usual)
    assert sizes.other_windows == 1 or longest <= full
    assert 1 <= sizes.other_windows <= most
