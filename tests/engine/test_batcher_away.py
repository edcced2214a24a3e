"""A device that goes away and comes back, as a batcher tells it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import RemoteEngineUnavailable
from speakerd_server.values import Float32, Int64
from support.batching import DIM, MODEL, WARM_SAMPLES, window


class Device:
    """A watch that a test moves."""

    def __init__(self) -> None:
        self.away: str | None = None
        self.closed = False
        self._told: Callable[[str | None], None] = lambda _: None

    def tell(self, told: Callable[[str | None], None]) -> None:
        self._told = told

    def close(self) -> None:
        self.closed = True

    async def is_away(self, cause: str | None) -> None:
        self.away = cause
        await asyncio.to_thread(self._told, cause)
        await asyncio.sleep(0.01)


class There(FakeBackend):
    """Embeds while its device is there."""

    def __init__(self, device: Device) -> None:
        super().__init__(DIM)
        self._device = device

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if self._device.away is not None:
            raise RemoteEngineUnavailable("there", self._device.away)
        return super().embed(pcm, rows)


@asynccontextmanager
async def running(
    told: list[str | None], device: Device
) -> AsyncIterator[tuple[Batcher, FakeBackend]]:
    backend = There(device)
    batcher = Batcher(1, EngineSettings(), on_away=told.append)
    await batcher.add(MODEL, Lanes(DIM, [backend], watch=device), WARM_SAMPLES)
    try:
        yield batcher, backend
    finally:
        await batcher.stop()


async def test_a_device_that_goes_and_comes_back_is_told_each_time() -> None:
    told, device = list[str | None](), Device()
    async with running(told, device) as (batcher, _):
        assert told == []
        await device.is_away("moved")
        assert batcher.away == "moved"
        assert batcher.statistics(MODEL).dead == "moved"
        await device.is_away(None)
        assert batcher.away is None
        assert batcher.statistics(MODEL).dead is None
    assert told == ["moved", None]
    assert device.closed


async def test_windows_end_with_the_name_while_it_is_away_and_are_embedded_again_after() -> None:
    device = Device()
    async with running([], device) as (batcher, backend):
        await device.is_away("moved")
        before = len(backend.batches)
        futures = [batcher.submit(MODEL, window(n)) for n in range(3)]
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {RemoteEngineUnavailable}
        assert len(backend.batches) == before
        assert batcher.statistics(MODEL).failed_batches >= 1
        await device.is_away(None)
        assert (await batcher.submit(MODEL, window(1))).shape == (DIM,)


async def test_nothing_is_told_once_the_engine_stops() -> None:
    told, device = list[str | None](), Device()
    async with running(told, device):
        pass
    await device.is_away("too late")
    assert told == []


async def test_a_model_whose_device_is_away_when_it_is_added_says_so() -> None:
    told, device = list[str | None](), Device()

    class Leaving(FakeBackend):
        def embed(self, pcm: Float32, rows: Int64) -> Float32:
            device.away = "gone right after"
            return super().embed(pcm, rows)

    batcher = Batcher(1, EngineSettings(), on_away=told.append)
    await batcher.add(MODEL, Lanes(DIM, [Leaving(DIM)], watch=device), WARM_SAMPLES)
    assert told == ["gone right after"]
    await batcher.remove(MODEL)
    assert device.closed
    await batcher.stop()


@pytest.mark.parametrize("windows", [1, 5])
async def test_a_window_of_a_device_that_is_away_is_tried_once(windows: int) -> None:
    device, asked = Device(), list[int]()

    class Counting(There):
        def embed(self, pcm: Float32, rows: Int64) -> Float32:
            asked.append(len(pcm))
            return super().embed(pcm, rows)

    batcher = Batcher(1, EngineSettings())
    await batcher.add(MODEL, Lanes(DIM, [Counting(device)], watch=device), WARM_SAMPLES)
    asked.clear()
    await device.is_away("moved")
    futures = [batcher.submit(MODEL, window(n)) for n in range(windows)]
    await asyncio.gather(*futures, return_exceptions=True)
    assert sum(asked) == windows
    await batcher.stop()
