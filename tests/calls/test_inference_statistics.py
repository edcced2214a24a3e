from __future__ import annotations

import time
from dataclasses import fields

from hypothesis import given
from hypothesis import strategies as st
from speakerd_server.calls.inference_statistics import Begun, ModelCounts
from speakerd_server.calls.inference_values import ModelStatistics, Spent

requests = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=5), max_size=20)


def begun(windows: int, at_s: float) -> Begun:
    one = Begun()
    one.told(at_s, windows)
    return one


def numbers(found: ModelStatistics) -> list[int]:
    every = []
    for one in fields(found):
        value = getattr(found, one.name)
        if isinstance(value, Spent):
            every += [value.count, value.ns]
        elif isinstance(value, int):
            every.append(value)
    return every


@given(requests)
def test_every_number_only_grows_and_the_parts_are_the_whole(sizes: list[list[int]]) -> None:
    counts = ModelCounts()
    before = counts.statistics("m", "1")
    for windows in sizes:
        arrived_s = counts.arrived()
        now_s = time.monotonic()
        counts.answered(arrived_s, now_s, now_s, [begun(one, now_s) for one in windows])
        found = counts.statistics("m", "1")
        assert all(new >= old for new, old in zip(numbers(found), numbers(before), strict=True))
        parts = (found.queue, found.compute_input, found.compute_infer, found.compute_output)
        assert {one.count for one in parts} == {found.success.count}
        assert abs(sum(one.ns for one in parts) - found.success.ns) <= 4 + found.success.ns * 1e-6
        before = found
    assert before.inference_count == sum(map(len, sizes))
    assert before.success.count == len(sizes)
    assert before.execution_count <= before.inference_count


def test_a_batch_that_several_requests_shared_counts_once() -> None:
    counts = ModelCounts()
    for _ in range(4):
        arrived_s = counts.arrived()
        counts.answered(arrived_s, arrived_s, arrived_s + 8.0, [begun(4, arrived_s)])
    found = counts.statistics("m", "1")
    assert (found.inference_count, found.execution_count) == (4, 1)
    assert found.batches == {4: Spent(1, 8_000_000_000)}


def test_the_time_goes_where_it_was_spent() -> None:
    counts = ModelCounts()
    arrived_s = time.monotonic() - 10.0
    late = begun(2, arrived_s + 6.0)
    counts.answered(arrived_s, arrived_s + 1.0, arrived_s + 9.0, [begun(2, arrived_s + 3.0), late])
    found = counts.statistics("m", "1")
    seconds = [
        round(one.ns / 1e9, 1)
        for one in (found.compute_input, found.queue, found.compute_infer, found.compute_output)
    ]
    assert seconds == [1.0, 2.0, 6.0, 1.0]
    assert round(found.success.ns / 1e9, 1) == 10.0


def test_failures_are_counted_apart_and_a_model_that_nobody_asked_has_only_zeros() -> None:
    counts = ModelCounts()
    assert set(numbers(counts.statistics("m", "1"))) == {0}
    counts.failed(counts.arrived())
    found = counts.statistics("m", "2")
    assert (found.name, found.version, found.fail.count, found.success.count) == ("m", "2", 1, 0)
    assert abs(found.last_inference_ms - time.time() * 1000) < 5_000
