from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
import pytest
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import EngineQueueFull
from support.batching import (
    DIM,
    MODEL,
    Gated,
    busy,
    running,
    window,
)


async def test_statistics_say_what_was_done_for_each_kind_of_window() -> None:
    async with busy(EngineSettings(maximum_batch_windows=4)) as (batcher, backend):
        live = [batcher.submit(MODEL, window(seed)) for seed in range(2)]
        offline = [await batcher.submit_offline(MODEL, window(seed)) for seed in range(3)]
        assert batcher.statistics(MODEL).queued_windows == 5
        await asyncio.sleep(0.03)
        backend.gate.release(10)
        await asyncio.gather(*live, *offline)
        done = batcher.statistics(MODEL)
        assert (done.live_windows, done.offline_windows) == (3, 3)
        assert done.live_queue_s >= 2 * 0.03
        assert done.offline_queue_s >= 3 * 0.03
        assert dict(done.batch_sizes) == {1: 2, 4: 1}
        assert (done.windows_embedded, done.batches, done.queued_windows) == (6, 3, 0)
        assert (done.device, done.compute_s >= 0.03) == ("cpu", True)


async def test_who_submits_can_learn_that_a_window_is_about_to_be_computed() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        taken: list[tuple[float, int]] = []
        future = batcher.submit(MODEL, window(0), taken=lambda *told: taken.append(told))
        assert taken == []
        begun_s = time.monotonic()
        backend.gate.release()
        await backend.wait_until_busy()
        ((at_s, windows),) = taken
        assert begun_s <= at_s <= time.monotonic()
        assert windows == 1
        backend.gate.release()
        await future


async def test_each_caller_gets_the_embedding_of_its_own_window() -> None:
    windows = [window(seed, frames=3 + seed % 2) for seed in range(40)]
    async with running(FakeBackend(DIM), FakeBackend(DIM)) as batcher:
        embeddings = await asyncio.gather(*(batcher.submit(MODEL, one) for one in windows))
    for one, embedding in zip(windows, embeddings, strict=True):
        wanted = FakeBackend(DIM).embed(one.pcm[None], one.rows[None])[0]
        np.testing.assert_array_equal(embedding, wanted)


async def test_windows_of_different_calls_share_a_batch() -> None:
    async with busy(EngineSettings(maximum_batch_windows=8)) as (batcher, backend):
        futures = [batcher.submit(MODEL, window(seed)) for seed in range(5)]
        backend.gate.release(2)
        await asyncio.gather(*futures)
        assert backend.batches[-1] == (5, 3)
        assert batcher.statistics(MODEL).batches == 2


async def test_a_full_queue_refuses_at_once_and_the_others_go_on() -> None:
    async with busy(EngineSettings(queue_windows=2)) as (batcher, backend):
        futures = [batcher.submit(MODEL, window(seed)) for seed in range(2)]
        with pytest.raises(EngineQueueFull):
            batcher.submit(MODEL, window(2))
        backend.gate.release(10)
        assert len(await asyncio.gather(*futures)) == 2
        assert batcher.statistics(MODEL).maximum_queued_windows == 2


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_a_crowd_of_callers_is_served_completely(workers: int) -> None:
    backends: Sequence[FakeBackend] = [FakeBackend(DIM) for _ in range(workers)]
    async with running(*backends, settings=EngineSettings(maximum_wait_ms=1.0)) as batcher:

        async def call(number: int) -> None:
            for step in range(5):
                await batcher.submit(MODEL, window(100 * number + step))

        await asyncio.gather(*(call(number) for number in range(30)))
        statistics = batcher.statistics(MODEL)
        assert statistics.windows_embedded == 150
        assert statistics.queued_windows == 0


async def test_live_windows_go_before_those_of_whole_recordings() -> None:
    gated = Gated()
    async with running(gated, settings=EngineSettings(maximum_batch_windows=1)) as batcher:
        first = await batcher.submit_offline(MODEL, window(0))
        await gated.wait_until_busy()
        offline = await batcher.submit_offline(MODEL, window(1))
        live = batcher.submit(MODEL, window(2))
        gated.gate.release()
        gated.gate.release()
        await first
        await live
        assert not offline.done()
        gated.gate.release()
        await offline


async def test_whole_recordings_wait_for_room_and_leave_the_queue_to_live_calls() -> None:
    gated = Gated()
    settings = EngineSettings(maximum_batch_windows=1, offline_windows=2, queue_windows=8)
    async with running(gated, settings=settings) as batcher:
        taken = [await batcher.submit_offline(MODEL, window(n)) for n in range(2)]
        waiting = asyncio.ensure_future(batcher.submit_offline(MODEL, window(2)))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        taken[1].cancel()
        third = await waiting
        for _ in range(3):
            gated.gate.release()
        await asyncio.gather(taken[0], third)


async def test_a_long_window_leaves_a_worker_to_live_calls() -> None:
    slow, other = Gated(), Gated()
    settings = EngineSettings(maximum_batch_frames=10)
    async with running(slow, other, settings=settings) as batcher:
        await batcher.submit_offline(MODEL, window(0, frames=20))
        second = asyncio.ensure_future(batcher.submit_offline(MODEL, window(1, frames=20)))
        await asyncio.sleep(0.05)
        assert not second.done()
        live = batcher.submit(MODEL, window(2))
        for backend in (slow, other):
            for _ in range(4):
                backend.gate.release()
        await live
        await (await second)


async def test_the_longest_wait_of_a_live_window_is_known() -> None:
    gated = Gated()
    async with running(gated, settings=EngineSettings(maximum_batch_windows=1)) as batcher:
        assert batcher.waited_s() == 0.0
        futures = [batcher.submit(MODEL, window(n)) for n in range(2)]
        await asyncio.sleep(0.1)
        assert batcher.waited_s() >= 0.09
        for _ in range(2):
            gated.gate.release()
        await asyncio.gather(*futures)
        assert batcher.waited_s() == 0.0


async def test_long_windows_that_wait_never_hold_the_room_of_short_ones() -> None:
    slow, other = Gated(), Gated()
    settings = EngineSettings(maximum_batch_frames=10, offline_windows=2)
    async with running(slow, other, settings=settings) as batcher:
        await batcher.submit_offline(MODEL, window(0, frames=20))
        longs = [
            asyncio.ensure_future(batcher.submit_offline(MODEL, window(n, frames=20)))
            for n in (1, 2)
        ]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            short = await batcher.submit_offline(MODEL, window(3))
        for backend in (slow, other):
            backend.gate.release(10)
        await short
        await asyncio.gather(*[await one for one in longs])
