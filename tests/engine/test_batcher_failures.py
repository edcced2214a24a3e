from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import BatchFailed, Draining, EngineDead
from support.batching import (
    DIM,
    MODEL,
    WARM_SAMPLES,
    Dying,
    busy,
    running,
    window,
)


async def test_a_cancelled_window_is_dropped_before_it_is_computed() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        cancelled, kept = batcher.submit(MODEL, window(0)), batcher.submit(MODEL, window(1))
        cancelled.cancel()
        backend.gate.release(10)
        await kept
        assert backend.batches[-1] == (1, 3)


async def test_cancelling_during_the_batch_harms_nobody_else() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        backend.gate.release()
        cancelled, kept = batcher.submit(MODEL, window(0)), batcher.submit(MODEL, window(1))
        await backend.wait_until_busy()
        cancelled.cancel()
        backend.gate.release(10)
        assert (await kept).shape == (DIM,)


async def test_a_poisoned_window_fails_its_own_caller_and_the_worker_lives_on() -> None:
    backend = FakeBackend(DIM, poison=lambda pcm: bool(np.abs(pcm).max() > 100))
    async with running(backend) as batcher:
        futures = [batcher.submit(MODEL, window(0)), batcher.submit(MODEL, window(1, level=1000.0))]
        good, bad = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(good, np.ndarray)
        assert isinstance(bad, BatchFailed)
        assert (await batcher.submit(MODEL, window(2))).shape == (DIM,)
        statistics = batcher.statistics(MODEL)
        assert (statistics.windows_embedded, statistics.failed_batches) == (2, 1)
        assert statistics.dead is None


async def test_a_dead_worker_fails_everyone_who_waits_and_says_so_once() -> None:
    deaths: list[EngineDead] = []
    batcher = Batcher(1, EngineSettings(), on_death=deaths.append)
    await batcher.add(MODEL, Lanes(DIM, [Dying(DIM)]), WARM_SAMPLES)
    futures = [batcher.submit(MODEL, window(0, level=1000.0))]
    futures += [batcher.submit(MODEL, window(seed, frames=4)) for seed in range(3)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(outcome, EngineDead) for outcome in outcomes)
    assert [death.cause for death in deaths] == ["SystemExit: out of luck"]
    assert batcher.statistics(MODEL).dead == "SystemExit: out of luck"
    with pytest.raises(EngineDead):
        batcher.submit(MODEL, window(1))
    await batcher.stop()


async def test_stopping_ends_the_threads_closes_the_backends_and_fails_what_waits() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        waiting = batcher.submit(MODEL, window(0))
        stopping = asyncio.create_task(batcher.stop())
        with pytest.raises(Draining):
            await waiting
        backend.gate.release(10)
        await stopping
        assert backend.closed
        with pytest.raises(Draining):
            batcher.submit(MODEL, window(1))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine-")]
