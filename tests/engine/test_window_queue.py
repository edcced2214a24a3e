from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from speakerd_server.engine.window_queue import BatchLimits, Job, WindowQueue
from speakerd_server.errors import EngineQueueFull
from speakerd_server.values import Float32, Window


def job(frames: int = 3, index: int = 0) -> Job:
    pcm = np.zeros(160 * frames + 240, np.float32)
    window = Window(index, pcm, np.arange(frames), pcm.size)
    future: asyncio.Future[Float32] = asyncio.get_running_loop().create_future()
    return Job(window, future, time.monotonic())


def queue_of(
    capacity: int = 100, windows: int = 8, frames: int = 1000, wait_s: float = 0.0
) -> WindowQueue:
    return WindowQueue(capacity, BatchLimits(windows, frames, wait_s))


async def test_a_batch_takes_the_oldest_windows_of_one_length() -> None:
    queue = queue_of()
    jobs = [job(frames, index) for index, frames in enumerate((3, 5, 3, 5, 3))]
    for one in jobs:
        queue.put(one)
    assert queue.take() == [jobs[0], jobs[2], jobs[4]]
    assert queue.take() == [jobs[1], jobs[3]]


async def test_a_batch_has_at_most_the_limit_of_windows() -> None:
    queue = queue_of(windows=2)
    for _ in range(5):
        queue.put(job())
    assert [len(queue.take()) for _ in range(3)] == [2, 2, 1]


async def test_a_batch_has_at_most_the_limit_of_frames_but_a_huge_window_goes_alone() -> None:
    queue = queue_of(frames=10)
    for frames in (3, 3, 3, 3, 50, 50):
        queue.put(job(frames))
    assert [len(queue.take()) for _ in range(4)] == [3, 1, 1, 1]


async def test_a_full_queue_refuses_at_once() -> None:
    queue = queue_of(capacity=2)
    queue.put(job())
    queue.put(job())
    with pytest.raises(EngineQueueFull) as refusal:
        queue.put(job())
    assert refusal.value.limit == 2
    assert len(queue) == queue.maximum_length == 2


async def test_cancelled_windows_are_not_taken_and_make_room() -> None:
    queue = queue_of(capacity=2)
    kept, cancelled, late = job(), job(), job()
    queue.put(kept)
    queue.put(cancelled)
    cancelled.future.cancel()
    queue.put(late)
    assert queue.take() == [kept, late]


async def test_free_workers_split_what_waits() -> None:
    queue = queue_of(windows=8, wait_s=0.2)
    taking = [asyncio.create_task(asyncio.to_thread(queue.take)) for _ in range(2)]
    await asyncio.sleep(0.05)
    for _ in range(6):
        queue.put(job())
    assert [len(batch) for batch in await asyncio.gather(*taking)] == [3, 3]


async def test_the_oldest_window_waits_for_company_no_longer_than_the_cap() -> None:
    queue = queue_of(wait_s=0.05)
    queue.put(job())
    started_s = time.monotonic()
    taken = await asyncio.to_thread(queue.take)
    assert len(taken) == 1
    assert time.monotonic() - started_s >= 0.04


async def test_a_full_batch_does_not_wait() -> None:
    queue = queue_of(windows=2, wait_s=60.0)
    queue.put(job())
    queue.put(job())
    assert len(queue.take()) == 2


async def test_closing_wakes_the_workers_and_gives_what_waited() -> None:
    queue = queue_of(wait_s=60.0)
    waiting = job()
    queue.put(waiting)
    taking = asyncio.create_task(asyncio.to_thread(queue.take))
    await asyncio.sleep(0.01)
    assert queue.close() == [waiting]
    assert await taking == []
    assert len(queue) == 0
