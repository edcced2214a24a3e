"""A batcher over backends that a test holds, kills or makes fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
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
        self.is_warm = self.computes = False
        self.gate = threading.Semaphore(0)
        self.entered = threading.Semaphore(0)

    def embed(self, pcm: Float32, rows: Int64) -> Float32:
        if self.is_warm:
            self.computes = True
            self.entered.release()
            self.gate.acquire()
            self.computes = False
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
