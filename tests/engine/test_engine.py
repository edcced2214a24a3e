from __future__ import annotations

import asyncio

import numpy as np
import pytest
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine import Engine, ModelEngine
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import Draining, EngineDead
from support.batching import DIM, MODEL, WARM_SAMPLES, Dying, Gated, running, window

OTHER = "other/1"


async def two_models(first: FakeBackend, second: FakeBackend) -> Batcher:
    batcher = Batcher(1, EngineSettings(queue_windows=7))
    await batcher.add(MODEL, Lanes(DIM, [first]), WARM_SAMPLES)
    await batcher.add(OTHER, Lanes(DIM + 2, [second]), WARM_SAMPLES)
    return batcher


async def test_an_engine_embeds_with_its_own_model_alone() -> None:
    batcher = await two_models(FakeBackend(DIM), FakeBackend(DIM + 2))
    engines: list[Engine] = [ModelEngine(batcher, model) for model in (MODEL, OTHER)]
    for engine, dim in zip(engines, (DIM, DIM + 2), strict=True):
        wanted = FakeBackend(dim).embed(window(1).pcm[None], window(1).rows[None])[0]
        np.testing.assert_array_equal(await engine.submit(window(1)), wanted)
        np.testing.assert_array_equal(await (await engine.submit_offline(window(1))), wanted)
        (done,) = engine.statistics()
        assert (done.live_windows, done.offline_windows, done.windows_embedded) == (1, 1, 2)
        assert engine.queue_limit_windows == 7
    await batcher.stop()


async def test_a_window_that_waits_is_seen_from_every_model_of_the_device() -> None:
    gated = Gated()
    batcher = await two_models(gated, FakeBackend(DIM + 2))
    gated.is_warm = True
    busy, idle = ModelEngine(batcher, MODEL), ModelEngine(batcher, OTHER)
    computed = busy.submit(window(0))
    await gated.wait_until_busy()
    waits = busy.submit(window(1))
    await asyncio.sleep(0.02)
    assert busy.waited_s >= 0.02
    assert idle.waited_s >= 0.02
    assert [one.statistics()[0].queued_windows for one in (busy, idle)] == [1, 0]
    gated.gate.release(2)
    await asyncio.gather(computed, waits)
    assert idle.waited_s == 0.0
    await batcher.stop()


async def test_a_model_that_was_removed_takes_no_window_and_says_nothing() -> None:
    batcher = await two_models(FakeBackend(DIM), FakeBackend(DIM + 2))
    gone = ModelEngine(batcher, MODEL)
    await batcher.remove(MODEL)
    with pytest.raises(Draining):
        gone.submit(window(0))
    with pytest.raises(Draining):
        await gone.submit_offline(window(0))
    assert list(gone.statistics()) == []
    assert gone.waited_s == 0.0
    await batcher.stop()


async def test_a_dead_engine_says_why_it_died() -> None:
    async with running(Dying(DIM)) as batcher:
        engine = ModelEngine(batcher, MODEL)
        with pytest.raises(EngineDead):
            await engine.submit(window(0, level=1000.0))
        with pytest.raises(EngineDead):
            engine.submit(window(1))
        assert [one.dead for one in engine.statistics()] == ["SystemExit: out of luck"]
