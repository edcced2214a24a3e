from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine.long_windows import averaged, buffer_samples, laid_out, runs
from speakerd_server.values import Float32, Int64, Window
from support.signals import frames_of, noise
from support.sounds import windows_of


@given(st.integers(1, 20000), st.integers(1, 4000))
def test_runs_are_as_few_as_can_be_nearly_equal_and_cover_every_row(
    frames: int, longest: int
) -> None:
    parts = runs(frames, longest)
    lengths = [part.stop - part.start for part in parts]
    assert len(parts) == -(-frames // longest)
    assert max(lengths) <= longest
    assert max(lengths) - min(lengths) <= 1
    covered = [row for part in parts for row in range(part.start, part.stop)]
    assert covered == list(range(frames))


@given(st.integers(400, 60_000), st.sampled_from([720, 8_000, 17_777, 32_000, 48_000]))
def test_every_window_fits_the_memory_of_its_length(samples: int, samples_per_chunk: int) -> None:
    for one in windows_of(noise(samples), samples_per_chunk):
        assert one.pcm.size <= buffer_samples(one.rows.size)


@given(
    samples=st.integers(400, 40_000),
    samples_per_chunk=st.sampled_from([8_000, 17_777, 32_000]),
    longest=st.integers(20, 150),
)
def test_a_run_has_exactly_the_frames_of_its_rows_and_fits(
    samples: int, samples_per_chunk: int, longest: int
) -> None:
    for one in windows_of(noise(samples), samples_per_chunk):
        for part in runs(one.rows.size, longest):
            pcm, rows = laid_out(one.pcm, one.rows[part])
            assert pcm.size <= buffer_samples(rows.size)
            found = frames_of(Window(0, pcm, rows, 0))
            np.testing.assert_array_equal(found, frames_of(one)[part])


def test_rows_that_need_more_audio_than_their_number_allows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 rows need"):
        laid_out(noise(160 * 99 + 400), np.array([0, 50, 99]))


def test_embeddings_are_averaged_by_the_rows_behind_them() -> None:
    embeddings: Float32 = np.array([[1, 0], [0, 1]], np.float32)
    parts = [slice(0, 3), slice(3, 4)]
    np.testing.assert_allclose(averaged(embeddings, parts), [0.75, 0.25])
    assert averaged(embeddings, parts).dtype == np.float32


def test_the_memory_of_a_usual_window_is_that_of_its_longest_tail() -> None:
    rows: Int64 = windows_of(noise(31_680 + 400 + 160))[-1].rows
    assert rows.max() == 199
    assert buffer_samples(198) == 160 * 199 + 400
