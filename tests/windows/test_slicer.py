from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.errors import AudioTooLong, AudioTooShort, NoAudio
from speakerd_server.values import Float32, Window
from speakerd_server.windows.arithmetic import frames_per_window, hop_samples
from speakerd_server.windows.slicer import Slicer
from support.signals import frames_of, noise

LENGTHS = st.integers(400, 9_000)
CHUNKS = st.integers(720, 4_000)


def sliced(signal: Float32, samples_per_chunk: int, at: list[int]) -> list[Window]:
    slicer = Slicer(samples_per_chunk, min_frames=3)
    windows = [w for piece in np.split(signal, at) for w in slicer.push(piece)]
    windows += slicer.end()
    assert slicer.samples == len(signal)
    return windows


def by_the_rule(signal: Float32, samples_per_chunk: int) -> list[Float32]:
    """Give the frames of each window, from all frames of the signal laid side by side."""
    frames = np.lib.stride_tricks.sliding_window_view(signal, 400)[::160]
    if samples_per_chunk == -1:
        return [frames]
    wanted = 1 + (samples_per_chunk - 400) // 160
    if len(frames) < wanted:
        return [frames[[i % len(frames) for i in range(wanted)]]]
    full = len(frames) // wanted * wanted
    windows = [frames[k : k + wanted] for k in range(0, full, wanted)]
    left = frames[full:]
    if len(left):
        windows.append(np.concatenate([left, frames])[:wanted])
    return windows


def check(windows: list[Window], expected: list[Float32], signal: Float32) -> None:
    assert [w.index for w in windows] == list(range(len(expected)))
    for window, frames in zip(windows, expected, strict=True):
        assert window.pcm.dtype == np.float32
        assert window.rows.dtype == np.int64
        assert np.array_equal(frames_of(window), frames)
        assert len(window.pcm) == 160 * window.rows.max() + 400
        assert window.end_samples <= len(signal)


@settings(max_examples=80, deadline=None)
@given(LENGTHS, CHUNKS)
def test_windows_hold_the_frames_of_the_seeds_rule(samples: int, samples_per_chunk: int) -> None:
    signal = noise(samples)
    check(sliced(signal, samples_per_chunk, []), by_the_rule(signal, samples_per_chunk), signal)


@pytest.mark.parametrize("samples_per_chunk", [720, 800, 880, 2_000])
def test_every_length_around_a_windows_edges_follows_the_rule(samples_per_chunk: int) -> None:
    hop = hop_samples(samples_per_chunk)
    edges = {n * hop + near for n in (1, 2, 3) for near in (-1, 0, 1, 239, 240, 241, 399, 400)}
    for samples in sorted(edges | set(range(400, 720, 40))):
        signal = noise(samples)
        expected = by_the_rule(signal, samples_per_chunk)
        check(sliced(signal, samples_per_chunk, []), expected, signal)


@settings(max_examples=30, deadline=None)
@given(st.integers(720, 5_000))
def test_minus_one_is_one_window_over_everything(samples: int) -> None:
    signal = noise(samples)
    windows = sliced(signal, -1, [])
    check(windows, by_the_rule(signal, -1), signal)
    assert windows[0].end_samples == samples


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.just(-1) | CHUNKS, st.data())
def test_where_the_samples_are_split_never_matters(
    samples: int, samples_per_chunk: int, data: st.DataObject
) -> None:
    signal = noise(max(samples, 720))
    at = sorted(data.draw(st.lists(st.integers(0, samples), max_size=20)))
    split, joined = sliced(signal, samples_per_chunk, at), sliced(signal, samples_per_chunk, [])
    for one, other in zip(split, joined, strict=True):
        assert (one.index, one.end_samples) == (other.index, other.end_samples)
        assert np.array_equal(one.pcm, other.pcm)
        assert np.array_equal(one.rows, other.rows)


@pytest.mark.parametrize("samples_per_chunk", [-1, 720, 32_000])
def test_single_samples_give_what_the_whole_gives(samples_per_chunk: int) -> None:
    signal = noise(34_000)
    one_by_one = sliced(signal, samples_per_chunk, list(range(1, len(signal))))
    check(one_by_one, by_the_rule(signal, samples_per_chunk), signal)


def test_a_full_window_comes_as_soon_as_its_last_sample_is_there() -> None:
    slicer, signal = Slicer(32_000, 3), noise(63_600)
    assert slicer.push(signal[:31_919]) == []
    (first,) = slicer.push(signal[31_919:63_599])
    (second,) = slicer.push(signal[63_599:])
    assert np.array_equal(first.pcm, signal[:31_920])
    assert np.array_equal(second.pcm, signal[31_680:])
    assert (first.end_samples, second.end_samples) == (31_680, 63_360)
    assert slicer.end() == []


def test_tail_and_head_lie_on_one_grid_with_zeros_between() -> None:
    signal = noise(31_680 + 560)
    tail = sliced(signal, 32_000, [])[1]
    assert np.array_equal(tail.pcm[:560], signal[31_680:])
    assert not tail.pcm[560:640].any()
    assert np.array_equal(tail.pcm[640:], signal[: 160 * 195 + 400])
    assert tail.rows.tolist() == [0, 1, *range(4, 200)]
    assert tail.end_samples == len(signal)


def test_a_short_signal_repeats_its_own_frames() -> None:
    signal = noise(730)
    (window,) = sliced(signal, 32_000, [])
    assert np.array_equal(window.pcm, signal[:720])
    assert window.rows.tolist() == [0, 1, 2] * 66
    assert window.end_samples == 730


def test_windows_cannot_be_written_to() -> None:
    for samples_per_chunk in (-1, 720, 2_000):
        for window in sliced(noise(1_999), samples_per_chunk, []):
            assert not window.pcm.flags.writeable
            assert not window.rows.flags.writeable


def test_a_stream_holds_two_windows_of_memory_however_long_it_is() -> None:
    slicer, minute = Slicer(720, 3), noise(960_000)
    assert sum(len(slicer.push(minute)) for _ in range(3)) == 3 * 960_000 // 480 - 1
    arrays = [value for value in vars(slicer).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) == 2 * 4 * 720


def test_no_audio_at_all_is_named() -> None:
    slicer = Slicer(32_000, 3)
    slicer.push(np.empty(0, np.float32))
    with pytest.raises(NoAudio):
        slicer.end()


@pytest.mark.parametrize(
    ("samples_per_chunk", "samples", "needed"),
    [(32_000, 1, 400), (32_000, 399, 400), (-1, 399, 720), (-1, 719, 720)],
)
def test_audio_that_cannot_make_an_embedding_is_named(
    samples_per_chunk: int, samples: int, needed: int
) -> None:
    slicer = Slicer(samples_per_chunk, 3)
    slicer.push(noise(samples))
    with pytest.raises(AudioTooShort) as caught:
        slicer.end()
    assert (caught.value.samples, caught.value.needed_samples) == (samples, needed)
    assert caught.value.sample_rate_hz == 16_000


@pytest.mark.parametrize(("samples_per_chunk", "advice"), [(-1, "samples_per_chunk"), (720, "spl")])
def test_a_signal_beyond_the_limit_is_refused(samples_per_chunk: int, advice: str) -> None:
    slicer = Slicer(samples_per_chunk, 3, maximum_samples=8_000)
    slicer.push(noise(8_000))
    with pytest.raises(AudioTooLong, match=advice) as caught:
        slicer.push(noise(1))
    assert caught.value.limit_s == 0.5


def test_the_frames_of_a_window_of_two_seconds_are_198() -> None:
    (window,) = Slicer(32_000, 3).push(noise(31_920))
    assert len(window.rows) == frames_per_window(32_000) == 198
