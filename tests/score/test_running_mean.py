from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.score.running_mean import RunningMean
from speakerd_server.values import Float32


def vectors(count: int, seed: int = 0) -> list[Float32]:
    return list(np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32) * 9)


def mean_of(embeddings: list[Float32]) -> RunningMean:
    mean = RunningMean(8)
    for embedding in embeddings:
        mean.add(embedding)
    return mean


@given(st.integers(1, 40), st.integers(0, 1_000))
def test_it_sums_raw_embeddings_in_float64(count: int, seed: int) -> None:
    embeddings = vectors(count, seed)
    mean = mean_of(embeddings)
    assert mean.count == count
    assert mean.sum.dtype == np.float64
    assert mean.sum == pytest.approx(np.sum(embeddings, axis=0, dtype=np.float64), abs=1e-9)


@given(st.integers(2, 40), st.integers(0, 1_000))
def test_consistency_is_the_mean_cosine_of_the_embeddings_to_their_mean(
    count: int, seed: int
) -> None:
    embeddings = np.array(vectors(count, seed), np.float64)
    centre = embeddings.mean(0)
    cosines = embeddings @ centre / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(centre)
    mean = mean_of([e.astype(np.float32) for e in embeddings])
    assert mean.consistency == pytest.approx(cosines.mean(), abs=1e-9)


def test_consistency_of_one_embedding_or_of_equal_ones_is_one() -> None:
    assert RunningMean(8).consistency == 1.0
    assert mean_of(vectors(1)).consistency == 1.0
    same = mean_of(vectors(1) * 7).consistency
    assert same == pytest.approx(1.0)
    assert same <= 1.0


def test_embeddings_that_cancel_out_have_no_consistency() -> None:
    one = vectors(1)[0]
    assert mean_of([one, -one]).consistency == 0.0


def test_a_sum_that_was_read_does_not_change_later() -> None:
    mean = mean_of(vectors(1))
    before = mean.sum
    kept = before.copy()
    mean.add(vectors(1)[0])
    assert np.array_equal(before, kept)


@pytest.mark.parametrize("wrong", [np.ones(7), np.ones((1, 8)), np.zeros(8)])
def test_what_is_no_embedding_is_a_mistake_of_the_caller(wrong: Float32) -> None:
    mean = RunningMean(8)
    with pytest.raises(ValueError, match="not an embedding"):
        mean.add(wrong.astype(np.float32))
    assert mean.count == 0
