from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.batcher import Batcher, EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import BatchFailed, Draining, EngineDead, EngineQueueFull
from speakerd_server.values import Float32, Int64, Window

DIM = 5
WARM_SAMPLES = 720


def window(seed: int, frames: int = 3, level: float = 0.1) -> Window:
    noise = np.random.default_rng(seed).standard_normal(160 * frames + 240)
    pcm = (level * noise).astype(np.float32)
    return Window(seed, pcm, np.arange(frames), pcm.size)


class Gated(FakeBackend):
    """Computes one batch each time the gate is opened."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.gate = threading.Semaphore(2)  # for warming
        self.entered = threading.Semaphore(0)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        self.entered.release()
        self.gate.acquire()
        return super().embed(pcm, rows)

    async def wait_until_busy(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


class Dying(FakeBackend):
    """Ends its thread at a loud window, as a bug outside the backend's own code would."""

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if np.abs(pcm).max() > 100:
            raise SystemExit("out of luck")
        return super().embed(pcm, rows)


@asynccontextmanager
async def running(
    *backends: Backend, settings: EngineSettings | None = None
) -> AsyncIterator[Batcher]:
    batcher = Batcher(backends, settings or EngineSettings(), DIM)
    await batcher.start(WARM_SAMPLES)
    try:
        yield batcher
    finally:
        for backend in backends:
            if isinstance(backend, Gated):
                backend.gate.release(1000)
        await batcher.stop()


@asynccontextmanager
async def busy(settings: EngineSettings) -> AsyncIterator[tuple[Batcher, Gated]]:
    """A batcher whose only worker computes until its gate is opened."""
    backend = Gated()
    async with running(backend, settings=settings) as batcher:
        await backend.wait_until_busy()
        await backend.wait_until_busy()
        batcher.submit(window(99))
        await backend.wait_until_busy()
        yield batcher, backend


async def test_every_backend_is_warm_at_the_expected_length_before_start_returns() -> None:
    backends = [FakeBackend(DIM), FakeBackend(DIM)]
    async with running(*backends, settings=EngineSettings(maximum_batch_windows=4)):
        assert [backend.batches for backend in backends] == [[(4, 3), (1, 3)]] * 2


async def test_a_backend_that_cannot_embed_noise_stops_the_start() -> None:
    batcher = Batcher([FakeBackend(DIM, poison=lambda _: True)], EngineSettings(), DIM)
    with pytest.raises(EngineDead, match="poisoned window"):
        await batcher.start(WARM_SAMPLES)
    await batcher.stop()


async def test_each_caller_gets_the_embedding_of_its_own_window() -> None:
    windows = [window(seed, frames=3 + seed % 2) for seed in range(40)]
    async with running(FakeBackend(DIM), FakeBackend(DIM)) as batcher:
        embeddings = await asyncio.gather(*(batcher.submit(one) for one in windows))
    for one, embedding in zip(windows, embeddings, strict=True):
        wanted = FakeBackend(DIM).embed(one.pcm[None], one.rows[None])[0]
        np.testing.assert_array_equal(embedding, wanted)


async def test_windows_of_different_calls_share_a_batch() -> None:
    async with busy(EngineSettings(maximum_batch_windows=8)) as (batcher, backend):
        futures = [batcher.submit(window(seed)) for seed in range(5)]
        backend.gate.release(2)
        await asyncio.gather(*futures)
        assert backend.batches[-1] == (5, 3)
        assert batcher.statistics().batches == 2


async def test_a_full_queue_refuses_at_once_and_the_others_go_on() -> None:
    async with busy(EngineSettings(queue_windows=2)) as (batcher, backend):
        futures = [batcher.submit(window(seed)) for seed in range(2)]
        with pytest.raises(EngineQueueFull):
            batcher.submit(window(2))
        backend.gate.release(10)
        assert len(await asyncio.gather(*futures)) == 2
        assert batcher.statistics().maximum_queued_windows == 2


async def test_a_cancelled_window_is_dropped_before_it_is_computed() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        cancelled, kept = batcher.submit(window(0)), batcher.submit(window(1))
        cancelled.cancel()
        backend.gate.release(10)
        await kept
        assert backend.batches[-1] == (1, 3)


async def test_cancelling_during_the_batch_harms_nobody_else() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        backend.gate.release()
        cancelled, kept = batcher.submit(window(0)), batcher.submit(window(1))
        await backend.wait_until_busy()
        cancelled.cancel()
        backend.gate.release(10)
        assert (await kept).shape == (DIM,)


async def test_a_poisoned_window_fails_its_own_caller_and_the_worker_lives_on() -> None:
    backend = FakeBackend(DIM, poison=lambda pcm: bool(np.abs(pcm).max() > 100))
    async with running(backend) as batcher:
        futures = [batcher.submit(window(0)), batcher.submit(window(1, level=1000.0))]
        good, bad = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(good, np.ndarray)
        assert isinstance(bad, BatchFailed)
        assert (await batcher.submit(window(2))).shape == (DIM,)
        statistics = batcher.statistics()
        assert (statistics.windows_embedded, statistics.failed_batches) == (2, 1)
        assert statistics.dead is None


async def test_a_dead_worker_fails_everyone_who_waits_and_says_so_once() -> None:
    deaths: list[EngineDead] = []
    batcher = Batcher([Dying(DIM)], EngineSettings(), DIM)
    await batcher.start(WARM_SAMPLES, deaths.append)
    futures = [batcher.submit(window(0, level=1000.0))]
    futures += [batcher.submit(window(seed, frames=4)) for seed in range(3)]
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(outcome, EngineDead) for outcome in outcomes)
    assert [death.cause for death in deaths] == ["SystemExit: out of luck"]
    assert batcher.statistics().dead == "SystemExit: out of luck"
    with pytest.raises(EngineDead):
        batcher.submit(window(1))
    await batcher.stop()


async def test_stopping_ends_the_threads_closes_the_backends_and_fails_what_waits() -> None:
    async with busy(EngineSettings()) as (batcher, backend):
        waiting = batcher.submit(window(0))
        stopping = asyncio.create_task(batcher.stop())
        with pytest.raises(Draining):
            await waiting
        backend.gate.release(10)
        await stopping
        assert backend.closed
        with pytest.raises(Draining):
            batcher.submit(window(1))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("engine-")]


@pytest.mark.parametrize("workers", [1, 2, 3])
async def test_a_crowd_of_callers_is_served_completely(workers: int) -> None:
    backends: Sequence[FakeBackend] = [FakeBackend(DIM) for _ in range(workers)]
    async with running(*backends, settings=EngineSettings(maximum_wait_ms=1.0)) as batcher:

        async def call(number: int) -> None:
            for step in range(5):
                await batcher.submit(window(100 * number + step))

        await asyncio.gather(*(call(number) for number in range(30)))
        statistics = batcher.statistics()
        assert statistics.windows_embedded == 150
        assert statistics.queued_windows == 0


async def test_live_windows_go_before_those_of_whole_recordings() -> None:
    gated = Gated()
    async with running(gated, settings=EngineSettings(maximum_batch_windows=1)) as batcher:
        first = await batcher.submit_offline(window(0))
        await gated.wait_until_busy()  # warming
        await gated.wait_until_busy()
        await gated.wait_until_busy()
        offline = await batcher.submit_offline(window(1))
        live = batcher.submit(window(2))
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
        taken = [await batcher.submit_offline(window(n)) for n in range(2)]
        waiting = asyncio.ensure_future(batcher.submit_offline(window(2)))
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
        await batcher.submit_offline(window(0, frames=20))
        second = asyncio.ensure_future(batcher.submit_offline(window(1, frames=20)))
        await asyncio.sleep(0.05)
        assert not second.done()
        live = batcher.submit(window(2))
        for backend in (slow, other):
            for _ in range(4):
                backend.gate.release()
        await live
        await (await second)


async def test_the_longest_wait_of_a_live_window_is_known() -> None:
    gated = Gated()
    async with running(gated, settings=EngineSettings(maximum_batch_windows=1)) as batcher:
        assert batcher.waited_s == 0.0
        futures = [batcher.submit(window(n)) for n in range(2)]
        await asyncio.sleep(0.1)
        assert batcher.waited_s >= 0.09
        for _ in range(2):
            gated.gate.release()
        await asyncio.gather(*futures)
        assert batcher.waited_s == 0.0


async def test_long_windows_that_wait_never_hold_the_room_of_short_ones() -> None:
    slow, other = Gated(), Gated()
    settings = EngineSettings(maximum_batch_frames=10, offline_windows=2)
    async with running(slow, other, settings=settings) as batcher:
        await batcher.submit_offline(window(0, frames=20))
        longs = [
            asyncio.ensure_future(batcher.submit_offline(window(n, frames=20))) for n in (1, 2)
        ]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(5):
            short = await batcher.submit_offline(window(3))
        for backend in (slow, other):
            backend.gate.release(10)
        await short
        await asyncio.gather(*[await one for one in longs])
