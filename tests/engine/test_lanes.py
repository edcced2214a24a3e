from __future__ import annotations

import itertools
import os
import sys
import threading
import time

import numpy as np
import pytest
from speakerd_server import scheduling
from speakerd_server.engine import lanes
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes, warmed
from speakerd_server.errors import ModelRefused
from speakerd_server.values import Float32, Int64
from support.batching import DIM, Answering
from support.contest import contest, in_a_thread

SAMPLES = 720
NAME = "some/1"


class Working(FakeBackend):
    """Takes so much of the processor's time for a batch, and for each of its windows."""

    def __init__(self, batch_s: float, window_s: float) -> None:
        super().__init__(DIM)
        self._batch_s, self._window_s = batch_s, window_s

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        until_s = time.thread_time() + self._batch_s + len(pcm) * self._window_s
        while time.thread_time() < until_s:
            pass
        return super().embed(pcm, rows)


class Together(FakeBackend):
    """Embeds only while another one does."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__(DIM)
        self._barrier: threading.Barrier | None = barrier

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if self._barrier is not None:
            self._barrier.wait(5)
            self._barrier = None
        return super().embed(pcm, rows)


def warm(lanes: Lanes, samples: int = SAMPLES, windows: int = 8, frames: int = 2400) -> Lanes:
    return warmed(lanes, NAME, samples, windows, frames, 60.0)[0]


def test_every_narrow_backend_runs_one_window_and_the_chosen_batch() -> None:
    backends = [FakeBackend(DIM, delay_s=0.002) for _ in range(3)]
    _, cost = warmed(Lanes(DIM, backends), NAME, SAMPLES, 8, 2400, 60.0)
    assert cost.best_windows == 8
    for backend in backends:
        assert {(1, 3), (8, 3)} <= set(backend.batches)
    assert [windows for windows, _ in cost.measured] == [1, 2, 4, 8]


def test_noise_has_the_length_of_the_windows_to_expect() -> None:
    backend = FakeBackend(DIM)
    warm(Lanes(DIM, [backend]), samples=32_000, windows=1)
    assert {frames for _, frames in backend.batches} == {198}


@pytest.mark.parametrize(("frames", "largest"), [(2400, 8), (12, 4), (11, 3), (3, 1), (2, 1)])
def test_no_batch_is_tried_that_has_more_frames_than_a_batch_may(frames: int, largest: int) -> None:
    backend = FakeBackend(DIM, delay_s=0.002)
    warm(Lanes(DIM, [backend]), frames=frames)
    assert max(windows for windows, _ in backend.batches) == largest


def test_a_batch_that_takes_too_long_is_not_chosen() -> None:
    _, cost = warmed(
        Lanes(DIM, [FakeBackend(DIM, delay_s=0.05)]), NAME, SAMPLES, 8, 2400, longest_s=0.01
    )
    assert cost.best_windows == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a thread waited")
def test_what_a_batch_costs_does_not_depend_on_who_else_is_at_work() -> None:
    def work() -> None:
        with contest():
            _, cost = warmed(
                Lanes(DIM, [Working(0.02, 0.01)]), NAME, SAMPLES, 4, 2400, longest_s=0.09
            )
        assert [windows for windows, _ in cost.measured] == [1, 2, 4]
        assert cost.fixed_s == pytest.approx(0.02, rel=0.3)
        assert cost.window_s == pytest.approx(0.01, rel=0.3)

    in_a_thread(work)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's threads have priorities")
@pytest.mark.parametrize("gives_way", [True, False])
def test_beside_calls_a_model_is_tried_with_what_they_leave(gives_way: bool) -> None:
    class Noting(FakeBackend):
        def embed(self, pcm: Float32, rows: Int64) -> Float32:
            priority = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            priorities.add(priority)
            return super().embed(pcm, rows)

    priorities: set[int] = set()
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    lanes = Lanes(DIM, [Noting(DIM), Noting(DIM)])
    warmed(lanes, NAME, SAMPLES, 8, 2400, 60.0, gives_way=gives_way)
    assert priorities == {10 if gives_way else usual}


def test_narrow_backends_are_warmed_at_the_same_time() -> None:
    barrier = threading.Barrier(2)
    backends = [Together(barrier), Together(barrier)]
    warm(Lanes(DIM, backends))
    assert all(backend.batches for backend in backends)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (FakeBackend(DIM, poison=lambda _: True), "poisoned window"),
        (FakeBackend(DIM + 1), "embeddings of shape"),
        (Answering(np.nan), "is not finite"),
        (Answering(np.inf), "is not finite"),
        (Answering(0.0), "is zero"),
    ],
)
@pytest.mark.parametrize("place", ["first", "second", "wide"])
def test_one_backend_without_an_embedding_of_noise_refuses_the_model(
    bad: FakeBackend, problem: str, place: str
) -> None:
    good = FakeBackend(DIM)
    lanes = {
        "first": Lanes(DIM, [bad, good]),
        "second": Lanes(DIM, [good, bad]),
        "wide": Lanes(DIM, [good], bad),
    }[place]
    with pytest.raises(ModelRefused, match=problem) as refused:
        warm(lanes)
    assert refused.value.name == NAME


@pytest.mark.parametrize("side_by_side", [True, False])
def test_a_wide_backend_that_saves_time_is_kept_and_one_that_does_not_is_closed(
    side_by_side: bool,
) -> None:
    narrow, fast, slow = (FakeBackend(DIM, delay_s=s) for s in (0.01, 0.001, 0.01))
    kept = warm(Lanes(DIM, [narrow], fast, side_by_side), windows=1)
    assert (kept.wide, fast.closed) == (fast, False)
    left = warm(Lanes(DIM, [narrow], slow, side_by_side), windows=1)
    assert (left.wide, slow.closed, narrow.closed) == (None, True, False)
    assert (left.narrow, left.dim, left.side_by_side) == ([narrow], DIM, side_by_side)


def test_backends_that_workers_share_are_closed_once() -> None:
    closed: list[FakeBackend] = []

    class Counting(FakeBackend):
        def close(self) -> None:
            closed.append(self)

    one, other, wide = Counting(DIM), Counting(DIM), Counting(DIM)
    Lanes(DIM, [one, other, one], wide).close()
    assert sorted(map(id, closed)) == sorted(map(id, (one, other, wide)))
    Lanes(DIM, [one], None).close()
    assert closed[-1] is one


def test_a_batch_that_seems_to_take_no_time_has_a_speed_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delays = itertools.count()
    monkeypatch.setattr(scheduling, "delayed_s", lambda: float(next(delays)))
    _, cost = warmed(Lanes(DIM, [FakeBackend(DIM)]), NAME, SAMPLES, 8, 2400, 60.0)
    assert all(seconds > 0.0 for _, seconds in cost.measured)


def test_a_wait_between_the_looks_at_two_clocks_is_no_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread has to wait whenever it has looked at the first clock, but at every third look."""
    waited_s, looks = 0.0, itertools.count(1)

    def perf_counter() -> float:
        nonlocal waited_s
        now_s = 7.0 + waited_s
        waited_s += 5.0 if next(looks) % 3 else 0.0
        return now_s

    monkeypatch.setattr(scheduling, "delayed_s", lambda: waited_s)
    monkeypatch.setattr("time.perf_counter", perf_counter)
    assert [lanes._own_clock_s() for _ in range(10)] == [7.0] * 10
