from __future__ import annotations

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from speakerd_server.engine.cost import Cost, choose
from speakerd_server.engine.statistics import EngineStatistics, Tally

COST = choose([(1, 0.01), (2, 0.015)])
SECONDS = st.floats(0.0, 100.0)
BATCHES = st.lists(st.tuples(st.integers(1, 64), st.integers(0, 64), SECONDS), max_size=20)


def tally(model: str = "statistics/1", cost: Cost = COST) -> Tally:
    return Tally("cpu", model, cost)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"speakerd_{name}", labels) or 0.0


def test_before_anything_was_done_everything_is_zero() -> None:
    assert tally().statistics(0, 0, None) == EngineStatistics(device="cpu", cost=COST)


@given(BATCHES)
def test_batches_are_added_up(batches: list[tuple[int, int, float]]) -> None:
    counted = tally()
    for windows, failed, seconds in batches:
        counted.computed(windows, min(failed, windows), seconds)
    done = counted.statistics(3, 5, "why")
    assert (done.queued_windows, done.maximum_queued_windows, done.dead) == (3, 5, "why")
    assert done.batches == len(batches) == sum(done.batch_sizes.values())
    assert done.failed_batches == sum(failed > 0 for _, failed, _ in batches)
    assert done.windows_embedded == sum(size - min(bad, size) for size, bad, _ in batches)
    assert done.compute_s == pytest.approx(sum(seconds for _, _, seconds in batches))
    assert dict(done.batch_sizes) == dict(Counter(size for size, _, _ in batches))
    assert list(done.batch_sizes) == sorted(done.batch_sizes)


@given(st.lists(st.lists(st.tuples(st.booleans(), SECONDS), max_size=5), max_size=8))
def test_live_windows_and_others_wait_apart(taken: list[list[tuple[bool, float]]]) -> None:
    counted = tally()
    for batch in taken:
        counted.taken(batch)
    done = counted.statistics(0, 0, None)
    every = [one for batch in taken for one in batch]
    assert done.live_windows == sum(live for live, _ in every)
    assert done.offline_windows == sum(not live for live, _ in every)
    assert done.live_queue_s == pytest.approx(sum(s for live, s in every if live))
    assert done.offline_queue_s == pytest.approx(sum(s for live, s in every if not live))


def test_statistics_that_were_given_out_stay_as_they_were() -> None:
    counted = tally()
    counted.computed(2, 0, 0.1)
    before = counted.statistics(0, 0, None)
    counted.computed(2, 0, 0.1)
    assert dict(before.batch_sizes) == {2: 1}


def test_no_window_is_lost_when_workers_count_at_once() -> None:
    counted = tally()

    def work() -> None:
        for _ in range(2000):
            counted.taken([(True, 1.0), (False, 2.0)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = counted.statistics(0, 0, None)
    assert (done.live_windows, done.offline_windows) == (8000, 8000)
    assert (done.live_queue_s, done.offline_queue_s) == (8000.0, 16000.0)


def test_the_metrics_count_the_same_for_each_model_and_device() -> None:
    counted, other = tally("measured/1"), tally("measured/2")
    counted.taken([(True, 0.5), (False, 0.25), (False, 0.25)])
    counted.computed(3, 1, 0.125)
    other.computed(8, 0, 1.0)
    of = {"model": "measured/1", "device": "cpu"}
    assert sample("windows_embedded_total", **of) == 2
    assert sample("batch_windows_sum", **of) == 3
    assert sample("batch_windows_count", **of) == 1
    assert sample("compute_seconds_sum", **of) == 0.125
    assert sample("queue_seconds_sum", model="measured/1", kind="live") == 0.5
    assert sample("queue_seconds_count", model="measured/1", kind="offline") == 2
    assert sample("windows_embedded_total", model="measured/2", device="cpu") == 8
