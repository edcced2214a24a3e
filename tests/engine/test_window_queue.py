from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from speakerd_server.engine.window_queue import Batch, BatchLimits, Job, WindowQueue
from speakerd_server.errors import EngineQueueFull
from speakerd_server.values import Float32, Window

MODEL = "some/1"


def job(frames: int = 3, index: int = 0, *, live: bool = True, model: str = MODEL) -> Job:
    pcm = np.zeros(160 * frames + 240, np.float32)
    window = Window(index, pcm, np.arange(frames), pcm.size)
    future: asyncio.Future[Float32] = asyncio.get_running_loop().create_future()
    return Job(model, window, future, time.monotonic(), live)


def queue_of(
    capacity: int = 100,
    windows: int = 8,
    frames: int = 1000,
    *,
    workers: int = 1,
    fixed_s: float = 0.0,
    shared: bool = True,
    wait_s: float = 60.0,
) -> WindowQueue:
    queue = WindowQueue(capacity, workers, wait_s)
    queue.set_limits(MODEL, BatchLimits(windows, frames, fixed_s, shared))
    return queue


def take(queue: WindowQueue, finished: Batch | None = None) -> Batch:
    batch = queue.take(finished)
    assert batch is not None
    return batch


async def test_a_batch_takes_the_oldest_windows_of_one_length() -> None:
    queue = queue_of()
    jobs = [job(frames, index) for index, frames in enumerate((3, 5, 3, 5, 3))]
    for one in jobs:
        queue.put(one)
    assert take(queue).jobs == [jobs[0], jobs[2], jobs[4]]
    assert take(queue).jobs == [jobs[1], jobs[3]]


async def test_a_batch_takes_live_windows_first_and_fills_up_with_others_of_their_length() -> None:
    queue = queue_of(windows=3)
    whole = [job(frames, index, live=False) for index, frames in enumerate((3, 5, 3, 3))]
    live = [job(5, 4), job(3, 5)]
    for one in (*whole, *live):
        queue.put(one)
    assert take(queue).jobs == [live[0], whole[1]]
    assert take(queue).jobs == [live[1], whole[0], whole[2]]
    assert take(queue).jobs == [whole[3]]


async def test_a_batch_never_mixes_models() -> None:
    queue = queue_of()
    queue.set_limits("other/1", BatchLimits(8, 1000))
    jobs = [job(index=index, model=(MODEL, "other/1")[index % 2]) for index in range(4)]
    for one in jobs:
        queue.put(one)
    first, second = take(queue), take(queue)
    assert (first.model, first.jobs) == (MODEL, jobs[0::2])
    assert (second.model, second.jobs) == ("other/1", jobs[1::2])
    assert queue.length_of(MODEL) == 0


async def test_a_batch_has_at_most_the_limit_of_windows() -> None:
    queue = queue_of(windows=2)
    for _ in range(5):
        queue.put(job())
    assert [len(take(queue).jobs) for _ in range(3)] == [2, 2, 1]


async def test_a_batch_has_at_most_the_limit_of_frames_but_a_huge_window_goes_alone() -> None:
    queue = queue_of(frames=10, workers=1)
    for frames in (3, 3, 3, 3, 50, 50):
        queue.put(job(frames))
    batches = [take(queue)]
    while len(queue):
        batches.append(take(queue, batches[-1]))
    assert [len(batch.jobs) for batch in batches] == [3, 1, 1, 1]
    assert [batch.is_long for batch in batches] == [False, False, True, True]


async def test_all_workers_but_one_compute_long_windows() -> None:
    queue = queue_of(frames=10, workers=2)
    for frames in (50, 50, 3):
        queue.put(job(frames))
    long, short = take(queue), take(queue)
    assert (long.is_long, short.is_long, len(queue)) == (True, False, 1)
    waiting = asyncio.create_task(asyncio.to_thread(queue.take, short))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    queue.put(job(3))
    batch = await waiting
    assert batch is not None
    assert not batch.is_long
    assert take(queue, long).is_long


async def test_a_full_queue_refuses_at_once() -> None:
    queue = queue_of(capacity=2)
    queue.put(job())
    queue.put(job(frames=5, live=False))
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
    assert take(queue).jobs == [kept, late]
    assert len(queue) == 0


async def test_what_waits_is_split_among_workers_that_compute_side_by_side() -> None:
    queue = queue_of(workers=2)
    for _ in range(7):
        queue.put(job())
    assert [len(take(queue).jobs) for _ in range(3)] == [4, 2, 1]


async def test_workers_that_take_turns_on_one_device_take_all_that_waits() -> None:
    queue = queue_of(workers=2, shared=False)
    for _ in range(7):
        queue.put(job())
    assert len(take(queue).jobs) == 7


async def test_a_window_is_alone_only_while_nothing_else_is_at_work_or_waits() -> None:
    queue = queue_of(workers=2)
    queue.put(job())
    first = take(queue)
    assert first.alone
    queue.put(job())
    second = take(queue)
    assert not second.alone
    queue.put(job())
    queue.put(job(frames=5))
    assert not take(queue, first).alone
    assert not take(queue, second).alone


async def test_while_windows_come_fast_a_window_waits_as_long_as_a_batch_costs_for_itself() -> None:
    queue = queue_of(fixed_s=0.05)
    for _ in range(50):
        queue.put(job())
    while len(queue):
        take(queue)
    queue.put(job())
    begun_s = time.monotonic()
    assert len(take(queue).jobs) == 1
    assert time.monotonic() - begun_s >= 0.04


async def test_a_window_that_waits_for_company_leaves_with_it_once_the_batch_is_full() -> None:
    queue = queue_of(windows=2, fixed_s=60.0)
    for _ in range(51):
        queue.put(job())
    assert [len(take(queue).jobs) for _ in range(25)] == [2] * 25
    taking = asyncio.create_task(asyncio.to_thread(queue.take))
    await asyncio.sleep(0.02)
    assert not taking.done()
    queue.put(job())
    batch = await taking
    assert batch is not None
    assert len(batch.jobs) == 2


async def test_windows_that_come_slowly_never_wait_for_company() -> None:
    queue = queue_of(fixed_s=0.02)
    for _ in range(3):
        queue.put(job())
        begun_s = time.monotonic()
        assert len(take(queue).jobs) == 1
        assert time.monotonic() - begun_s < 0.02
        await asyncio.sleep(0.05)


async def test_no_window_waits_longer_than_it_may() -> None:
    queue = queue_of(fixed_s=60.0, wait_s=0.0)
    for _ in range(9):
        queue.put(job())
    assert [len(take(queue).jobs) for _ in range(2)] == [8, 1]


async def test_the_oldest_live_window_says_how_long_it_has_waited() -> None:
    queue = queue_of()
    queue.put(job(live=False))
    assert queue.waited_s() == 0.0
    queue.put(job(frames=5))
    await asyncio.sleep(0.02)
    queue.put(job())
    assert 0.02 <= queue.waited_s() < 5.0


async def test_removing_a_model_waits_until_its_batch_is_computed() -> None:
    queue = queue_of(workers=2)
    queue.put(job())
    batch = take(queue)
    queue.put(job())
    removing = asyncio.create_task(asyncio.to_thread(queue.remove, MODEL))
    await asyncio.sleep(0.02)
    assert not removing.done()
    assert len(queue) == 0
    taking = asyncio.create_task(asyncio.to_thread(queue.take, batch))
    await removing
    queue.close()
    assert await taking is None


async def test_closing_wakes_the_workers_and_gives_what_waited() -> None:
    queue = queue_of(fixed_s=60.0)
    for _ in range(40):
        queue.put(job())
    while len(queue) > 0:
        take(queue)
    waiting = job()
    queue.put(waiting)
    taking = asyncio.create_task(asyncio.to_thread(queue.take))
    await asyncio.sleep(0.01)
    assert queue.close() == [waiting]
    assert await taking is None
    assert len(queue) == 0


async def test_a_window_is_withdrawn_while_it_waits_and_not_once_a_worker_has_it() -> None:
    queue = queue_of(windows=1)
    jobs = [job(index=index) for index in range(3)]
    for one in jobs:
        queue.put(one)
    assert take(queue).jobs == [jobs[0]]
    assert not queue.withdraw(jobs[0].future)
    assert not jobs[0].future.done()
    assert queue.withdraw(jobs[1].future)
    assert jobs[1].future.cancelled()
    assert not queue.withdraw(jobs[1].future)
    assert take(queue).jobs == [jobs[2]]
    assert not queue.withdraw(asyncio.get_running_loop().create_future())
