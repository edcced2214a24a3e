"""Front ends of a test, before an engine of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
from speakerd_server.processes.engine_connection import EngineConnection, Job
from speakerd_server.processes.windows_shared import (
    EMBEDDED,
)
from speakerd_server.values import Float32, Window
from support.shared_ends import NUMBER, BareEngine, BareFrontEnd, until
from support.sounds import fake_embedding, window

NAME = "engine gpu:0"


class FrontEnd:
    """A connection and what it has said of itself."""

    def __init__(self, path: Path, queue_windows: int) -> None:
        self.ups = 0
        self.orphans: list[Job] = []
        self.connection = EngineConnection(NAME, path, queue_windows, self._up, self.orphans.extend)

    def _up(self) -> None:
        assert self.connection.is_up
        self.ups += 1

    async def is_up(self, times: int = 1) -> None:
        await until(lambda: self.ups >= times and self.connection.is_up)

    def submit(self, one: Window, *, live: bool = True) -> Job:
        job = Job(NUMBER, one, live, asyncio.get_running_loop().create_future())
        self.connection.submit(job)
        return job


@asynccontextmanager
async def connected(
    path: Path, queue_windows: int = 8, engine: BareEngine | None = None
) -> AsyncIterator[FrontEnd]:
    front = FrontEnd(path, queue_windows)
    front.connection.open()
    yield front
    await front.connection.close()
    if engine is not None:
        engine.close()  # else who is just greeting it waits for long


@asynccontextmanager
async def greeted(
    engine: BareEngine, path: Path, queue_windows: int = 8
) -> AsyncIterator[FrontEnd]:
    async with connected(path, queue_windows, engine) as front:
        await engine.greet()
        await front.is_up()
        yield front


async def settled(*jobs: Job) -> list[Float32 | BaseException]:
    async with asyncio.timeout(5):
        return await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)


@contextmanager
def front_end(path: Path) -> Iterator[BareFrontEnd]:
    made = BareFrontEnd(path)
    try:
        yield made
    finally:
        made.close()


async def embeds(front: BareFrontEnd, job: int, seed: int = 1) -> bool:
    one = window(20, seed)
    front.submit(job, one)
    record, embedding = await front.heard()
    assert (record.kind, record.job) == (EMBEDDED, job)
    return np.array_equal(np.asarray(embedding), fake_embedding(one))
