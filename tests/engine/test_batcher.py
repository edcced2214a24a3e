from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from speakerd_server.engine.batcher import Batcher, EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import (
    BatchFailed,
    Draining,
    EngineDead,
    EngineQueueFull,
    ModelRefused,
)
from speakerd_server.values import Float32, Int64, Window

DIM = 5
WARM_SAMPLES = 720
MODEL = "some/1"


def window(seed: int, frames: int = 3, level: float = 0.1) -> Window:
    noise = np.random.default_rng(seed).standard_normal(160 * frames + 240)
    pcm = (level * noise).astype(np.float32)
    return Window(seed, pcm, np.arange(frames), pcm.size)


class Gated(FakeBackend):
    """Once warm, computes one batch each time the gate is opened."""

    def __init__(self) -> None:
        super().__init__(DIM)
        self.is_warm = False
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if self.is_warm:
            self.entered.release()
            self.gate.acquire()
        return super().embed(pcm, rows)

    async def wait_until_busy(self) -> None:
        await asyncio.to_thread(self.entered.acquire)


class Answering(FakeBackend):
    """Gives embeddings of one number."""

    def __init__(self, number: float) -> None:
        super().__init__(DIM)
        self.number = number

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        return np.full((len(pcm), DIM), self.number, np.float32)


class Dying(FakeBackend):
    """Ends its thread at a loud window, as a bug outside the backend's own code would."""

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if np.abs(pcm).max() > 100:
            raise SystemExit("out of luck")
        return super().embed(pcm, rows)


@asynccontextmanager
async def running(
    *backends: FakeBackend, settings: EngineSettings | None = None, wide: FakeBackend | None = None
) -> AsyncIterator[Batcher]:
    settings = settings or EngineSettings()
    most_frames = settings.maximum_batch_frames or 2400
    batcher = Batcher(len(backends), settings, most_frames=most_frames)
    await batcher.add(MODEL, Lanes(DIM, backends, wide), WARM_SAMPLES)
    for backend in backends:
        backend.batches.clear()
        if isinstance(backend, Gated):
            backend.is_warm = True
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
        batcher.submit(MODEL, window(99))
        await backend.wait_until_busy()
        yield batcher, backend


async def test_every_backend_is_warm_at_the_chosen_size_before_windows_are_taken() -> None:
    backends = [FakeBackend(DIM, delay_s=0.005), FakeBackend(DIM, delay_s=0.005)]
    batcher = Batcher(2, EngineSettings())
    await batcher.add(MODEL, Lanes(DIM, backends), WARM_SAMPLES)
    cost = batcher.statistics(MODEL).cost
    assert cost is not None
    assert [size for size, _ in cost.measured] == [1, 2, 4, 8]
    assert cost.best_windows == 8
    assert all((8, 3) in backend.batches for backend in backends)
    await batcher.stop()


async def test_a_batch_size_of_the_settings_is_obeyed_whatever_it_costs() -> None:
    async with busy(EngineSettings(maximum_batch_windows=3)) as (batcher, backend):
        futures = [batcher.submit(MODEL, window(seed)) for seed in range(7)]
        backend.gate.release(10)
        await asyncio.gather(*futures)
        assert backend.batches == [(1, 3), (3, 3), (3, 3), (1, 3)]


@pytest.mark.parametrize(
    ("backend", "problem"),
    [
        (FakeBackend(DIM, poison=lambda _: True), "poisoned window"),
        (FakeBackend(DIM + 1), r"embeddings of shape \(1, 6\), not \(1, 5\)"),
        (Answering(np.nan), "is not finite"),
        (Answering(0.0), "is zero"),
    ],
)
async def test_a_model_that_gives_no_embedding_of_noise_is_refused(
    backend: FakeBackend, problem: str
) -> None:
    batcher = Batcher(1, EngineSettings())
    with pytest.raises(ModelRefused, match=problem) as refused:
        await batcher.add("key", Lanes(DIM, [backend]), WARM_SAMPLES, name="other/2")
    assert refused.value.name == "other/2"
    assert backend.closed
    with pytest.raises(Draining):
        batcher.submit("key", window(0))
    await batcher.stop()


async def test_a_lone_window_gets_every_processor_and_others_do_not() -> None:
    narrow, wide = FakeBackend(DIM, delay_s=0.05), Gated()
    async with running(narrow, wide=wide) as batcher:
        wide.is_warm = True
        wide.batches.clear()
        alone = batcher.submit(MODEL, window(0))
        await wide.wait_until_busy()
        others = [batcher.submit(MODEL, window(seed)) for seed in range(3)]
        wide.gate.release()
        await asyncio.gather(alone, *others)
        assert (wide.batches, narrow.batches) == ([(1, 3)], [(3, 3)])


async def test_a_wide_backend_that_is_no_faster_is_closed() -> None:
    narrow, wide = FakeBackend(DIM), FakeBackend(DIM, delay_s=0.05)
    async with running(narrow, wide=wide) as batcher:
        assert wide.closed
        await batcher.submit(MODEL, window(0))
        assert narrow.batches == [(1, 3)]


async def test_a_model_that_is_removed_finishes_its_windows_and_closes_its_backends() -> None:
    leaving, staying = Gated(), FakeBackend(DIM)
    batcher = Batcher(1, EngineSettings(maximum_batch_windows=1))
    for model, backend in (("old", leaving), ("new", staying)):
        await batcher.add(model, Lanes(DIM, [backend]), WARM_SAMPLES)
    leaving.is_warm = True
    out = [batcher.submit("old", window(seed)) for seed in range(3)]
    await leaving.wait_until_busy()
    out[2].cancel()
    removal = asyncio.create_task(batcher.remove("old"))
    await asyncio.sleep(0.02)
    with pytest.raises(Draining):
        batcher.submit("old", window(4))
    later = batcher.submit("new", window(5))
    assert not removal.done()
    assert not leaving.closed
    leaving.gate.release(2)
    assert [(await one).shape for one in out[:2]] == [(DIM,)] * 2
    await removal
    assert leaving.closed
    wanted = staying.embed(window(5).pcm[None], window(5).rows[None])[0]
    np.testing.assert_array_equal(await later, wanted)
    await batcher.stop()


async def test_a_cancelled_window_whose_batch_is_computed_holds_the_removal() -> None:
    backend = Gated()
    batcher = Batcher(1, EngineSettings())
    await batcher.add(MODEL, Lanes(DIM, [backend]), WARM_SAMPLES)
    backend.is_warm = True
    batcher.submit(MODEL, window(0)).cancel()
    future = batcher.submit(MODEL, window(1))
    await backend.wait_until_busy()
    future.cancel()
    removal = asyncio.create_task(batcher.remove(MODEL))
    await asyncio.sleep(0.05)
    assert not removal.done()
    assert not backend.closed
    backend.gate.release()
    await removal
    assert backend.closed
    await batcher.stop()


async def test_windows_of_two_models_are_never_in_one_batch() -> None:
    gated, other = Gated(), FakeBackend(DIM + 2)
    batcher = Batcher(1, EngineSettings())
    await batcher.add(MODEL, Lanes(DIM, [gated]), WARM_SAMPLES)
    await batcher.add("other", Lanes(DIM + 2, [other]), WARM_SAMPLES)
    gated.is_warm = True
    first = batcher.submit(MODEL, window(0))
    await gated.wait_until_busy()
    mixed = [batcher.submit(("other", MODEL)[seed % 2], window(seed)) for seed in range(6)]
    gated.gate.release(10)
    sizes = [embedding.size for embedding in await asyncio.gather(first, *mixed)]
    assert sizes == [DIM] + [DIM + 2, DIM] * 3
    await batcher.stop()


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
        taken = threading.Event()
        future = batcher.submit(MODEL, window(0), taken=taken.set)
        assert not taken.is_set()
        backend.gate.release()
        await backend.wait_until_busy()
        assert taken.is_set()
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
