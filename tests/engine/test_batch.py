from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.engine.backend import plain_buffers
from speakerd_server.engine.batch import embed_windows
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import BatchFailed, DeviceLost, DeviceOutOfMemory, EmbeddingInvalid
from speakerd_server.values import Float32, Int64, Window

DIM = 5


def window(seed: int, frames: int = 3, extra_samples: int = 0, level: float = 0.1) -> Window:
    noise = np.random.default_rng(seed).standard_normal(160 * frames + 240 + extra_samples)
    pcm = (level * noise).astype(np.float32)
    return Window(seed, pcm, np.arange(frames), pcm.size)


class Answering:
    """Gives what it was told to give."""

    def __init__(self, embeddings: Float32) -> None:
        self.embeddings = embeddings

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        return plain_buffers(windows, samples, frames)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        return self.embeddings[: len(pcm)]

    def close(self) -> None:
        return


@given(st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_what_is_batched_beside_a_window_does_not_change_its_embedding(extras: list[int]) -> None:
    backend = FakeBackend(DIM)
    windows = [window(seed, extra_samples=extra) for seed, extra in enumerate(extras)]
    together = embed_windows(backend, windows, DIM)
    alone = [embed_windows(backend, [one], DIM)[0] for one in windows]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        np.testing.assert_array_equal(one, other)


def test_a_poisoned_window_fails_alone_and_names_the_cause() -> None:
    backend = FakeBackend(DIM, poison=lambda pcm: bool(np.abs(pcm).max() > 100))
    windows = [window(0), window(1, level=1000.0), window(2)]
    first, poisoned, last = embed_windows(backend, windows, DIM)
    assert isinstance(first, np.ndarray)
    assert isinstance(last, np.ndarray)
    assert isinstance(poisoned, BatchFailed)
    assert poisoned.cause == "ValueError: poisoned window"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_embedding_that_is_not_finite_is_refused_for_its_window_only(bad: float) -> None:
    embeddings = np.ones((2, DIM), np.float32)
    embeddings[1, 3] = bad
    good, refused = embed_windows(Answering(embeddings), [window(0), window(1)], DIM)
    assert isinstance(good, np.ndarray)
    assert isinstance(refused, EmbeddingInvalid)
    assert refused.problem == "is not finite"


def test_an_embedding_of_zeros_is_refused() -> None:
    (refused,) = embed_windows(Answering(np.zeros((1, DIM), np.float32)), [window(0)], DIM)
    assert isinstance(refused, EmbeddingInvalid)
    assert refused.problem == "is zero"


def test_embeddings_of_another_length_fail_by_name() -> None:
    (refused,) = embed_windows(Answering(np.ones((1, DIM + 1), np.float32)), [window(0)], DIM)
    assert isinstance(refused, BatchFailed)
    assert "(1, 6), not (1, 5)" in refused.cause


def test_embeddings_do_not_share_memory_with_the_batch() -> None:
    embeddings = np.ones((1, DIM), np.float32)
    (embedding,) = embed_windows(Answering(embeddings), [window(0)], DIM)
    assert isinstance(embedding, np.ndarray)
    assert not np.shares_memory(embedding, embeddings)


class Roomy(FakeBackend):
    """Lays batches out in one memory, larger than the windows and full of what was there before."""

    memory = np.full((8, 4000), np.nan, np.float32)

    def buffers(self, windows: int, samples: int, frames: int) -> tuple[Float32, Int64]:
        return self.memory[:windows], np.full((windows, frames), -1)


def test_what_a_backends_memory_held_before_reaches_no_embedding() -> None:
    windows = [window(seed, extra_samples=200 * seed) for seed in range(4)]
    plain = embed_windows(FakeBackend(DIM), windows, DIM)
    for one, other in zip(embed_windows(Roomy(DIM), windows, DIM), plain, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        np.testing.assert_array_equal(one, other)
    assert not Roomy.memory[0, windows[0].pcm.size :].any()


class Small(FakeBackend):
    """A device with memory for so many windows at once."""

    def __init__(self, windows: int) -> None:
        super().__init__(DIM)
        self._windows = windows

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        self.batches.append(rows.shape)
        if len(pcm) > self._windows:
            raise DeviceOutOfMemory("CUDA error 2: out of memory")
        return np.stack([self._embed(*one) for one in zip(pcm, rows, strict=True)])


def test_a_batch_that_a_device_has_no_memory_for_is_halved_until_it_fits() -> None:
    backend = Small(2)
    windows = [window(seed) for seed in range(7)]
    found = embed_windows(backend, windows, DIM)
    for one, other in zip(found, embed_windows(FakeBackend(DIM), windows, DIM), strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(other, np.ndarray)
        np.testing.assert_array_equal(one, other)
    assert [windows for windows, _ in backend.batches] == [7, 3, 1, 2, 4, 2, 2]


def test_a_window_that_a_device_has_no_memory_for_alone_is_refused_by_name() -> None:
    for outcome in embed_windows(Small(0), [window(0), window(1)], DIM):
        assert isinstance(outcome, DeviceOutOfMemory)
        assert "out of memory" in str(outcome)


class Gone(FakeBackend):
    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        raise DeviceLost("CUDA error 700: an illegal memory access was encountered")


def test_a_device_that_is_lost_ends_the_worker_and_not_one_window() -> None:
    with pytest.raises(DeviceLost, match="CUDA error 700"):
        embed_windows(Gone(DIM), [window(0), window(1)], DIM)
