from __future__ import annotations

import asyncio

import numpy as np
import pytest
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import Draining, ModelRefused
from support.batching import (
    DIM,
    MODEL,
    WARM_SAMPLES,
    Answering,
    Gated,
    busy,
    running,
    window,
)


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


async def test_stopping_while_a_model_leaves_closes_it_once_and_after_its_batch() -> None:
    class Closing(Gated):
        closings = 0

        def close(self) -> None:
            assert not self.computes
            self.closings += 1
            super().close()

    backend = Closing()
    batcher = Batcher(1, EngineSettings())
    await batcher.add(MODEL, Lanes(DIM, [backend]), WARM_SAMPLES)
    backend.is_warm = True
    batcher.submit(MODEL, window(0))
    await backend.wait_until_busy()
    cancelled = batcher.submit(MODEL, window(1))
    cancelled.cancel()
    removal = asyncio.create_task(batcher.remove(MODEL))
    await asyncio.sleep(0.02)
    stopping = asyncio.create_task(batcher.stop())
    await asyncio.sleep(0.02)
    assert not backend.closed
    backend.gate.release(2)
    await asyncio.gather(removal, stopping)
    assert backend.closings == 1
    await batcher.remove(MODEL)
