from __future__ import annotations

import time

import numpy as np
import pytest
from speakerd_server.engine.fake import FakeBackend

ROWS = np.arange(3)[None]


def pcm(seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((1, 720)).astype(np.float32)


def test_embeddings_depend_on_the_audio_of_the_rows_alone() -> None:
    one, other = FakeBackend(7), FakeBackend(7)
    np.testing.assert_array_equal(one.embed(pcm(0), ROWS), other.embed(pcm(0), ROWS))
    assert not np.array_equal(one.embed(pcm(0), ROWS), one.embed(pcm(1), ROWS))
    padded = np.pad(pcm(0), ((0, 0), (0, 500)))
    np.testing.assert_array_equal(one.embed(padded, ROWS), one.embed(pcm(0), ROWS))


def test_poison_fails_the_whole_batch() -> None:
    backend = FakeBackend(7, poison=lambda window: window[0] == 0.5)
    batch = np.concatenate([pcm(0), pcm(1)])
    backend.embed(batch, np.tile(ROWS, (2, 1)))
    batch[1, 0] = 0.5
    with pytest.raises(ValueError, match="poisoned window"):
        backend.embed(batch, np.tile(ROWS, (2, 1)))


def test_a_batch_takes_at_least_the_delay() -> None:
    started_s = time.monotonic()
    FakeBackend(7, delay_s=0.02).embed(pcm(0), ROWS)
    assert time.monotonic() - started_s >= 0.02
