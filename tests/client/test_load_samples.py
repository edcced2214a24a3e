"""Percentiles are those of all samples, whoever has measured them, in bounded memory."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from speakerd_client.load.samples import Figure, Samples

TIMES_S = st.floats(0.0, 90_000.0)


def of(values: list[float]) -> Samples:
    samples = Samples()
    for value in values:
        samples.add(value)
    return samples


def nearest_rank(values: list[float], percent: int) -> float:
    return 1000 * sorted(values)[math.ceil(len(values) * percent / 100) - 1]


@given(st.lists(TIMES_S, min_size=1, max_size=300), st.sampled_from([1, 50, 90, 99, 100]))
def test_a_percentile_is_that_of_the_nearest_rank(values: list[float], percent: int) -> None:
    found = of(values).percentile_ms(percent)
    assert found == pytest.approx(nearest_rank(values, percent), rel=1.3e-4, abs=1.1e-3)


@given(st.lists(TIMES_S, min_size=1, max_size=50))
def test_count_mean_and_maximum_are_exact(values: list[float]) -> None:
    figure = of(values).figure()
    assert figure.count == len(values)
    assert figure.mean == pytest.approx(1000 * math.fsum(values) / len(values), abs=1e-3)
    assert figure.max == round(1000 * max(values), 3)
    assert figure.p50 is not None
    assert figure.p90 is not None
    assert figure.p99 is not None
    assert figure.p50 <= figure.p90 <= figure.p99 <= figure.max


@given(st.lists(st.lists(TIMES_S, max_size=30), min_size=1, max_size=5))
def test_parts_merged_in_any_order_are_the_whole(parts: list[list[float]]) -> None:
    whole = of([value for part in parts for value in part]).figure()
    forwards, backwards = Samples(), Samples()
    for part in parts:
        forwards.merge(pickle.loads(pickle.dumps(of(part))))
    for part in reversed(parts):
        backwards.merge(of(part))
    for merged in (forwards.figure(), backwards.figure()):
        assert (merged.count, merged.max) == (whole.count, whole.max)
        assert (merged.p50, merged.p90, merged.p99) == (whole.p50, whole.p90, whole.p99)
        assert merged.mean == pytest.approx(whole.mean)


def test_without_a_sample_there_is_no_figure() -> None:
    assert Samples().figure() == Figure(0)
    assert Samples().percentile_ms(99) is None
    assert len(Samples()) == 0


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    samples = Samples()
    for number in range(200_000):
        samples.add(0.02 + number * 1e-8)
    assert len(samples) == 200_000
    assert len(pickle.dumps(samples)) < 20_000


@given(st.lists(st.floats(0.0, 1e9), min_size=1, max_size=20))
def test_no_more_values_are_kept_than_thirteen_digits_can_tell_apart(values: list[float]) -> None:
    samples = of(values)
    samples.figure()
    for microseconds in samples._counts:
        digits = f"{microseconds:b}".rstrip("0")
        assert len(digits) <= 13
        assert 0 <= microseconds <= 1.001e11


def test_a_clock_that_goes_back_a_little_counts_as_no_time() -> None:
    figure = of([-1e-9, 0.001]).figure()
    assert (figure.p50, figure.max) == (0.0, 1.0)
