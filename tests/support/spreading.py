"""Windows of a test spread over two engines of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.processes.spread import Engines
from speakerd_server.values import Float32
from support.shared_ends import NUMBER, BareEngine, until

EVEN = {"one": 10.0, "two": 10.0}


class Pair:
    """Two engines of which the test has the other end."""

    def __init__(self, folder: Path) -> None:
        self.paths = {name: folder / name for name in EVEN}
        self.one, self.two = (BareEngine(path) for path in self.paths.values())

    async def greet(self, engines: Engines) -> None:
        for name, end in zip(EVEN, (self.one, self.two), strict=True):
            await end.greet()
            await is_up(engines, name)


@asynccontextmanager
async def spread_over(
    paths: Mapping[str, Path],
    rates: Mapping[str, float] = EVEN,
    settings: EngineSettings | None = None,
    pair: Pair | None = None,
) -> AsyncIterator[Engines]:
    engines = Engines(paths, settings or EngineSettings())
    engines.host(NUMBER, rates)
    engines.open()
    if pair is not None:
        await pair.greet(engines)
    yield engines
    await engines.close()
    if pair is not None:
        pair.one.close()
        pair.two.close()


async def is_up(engines: Engines, name: str) -> None:
    await until(lambda: engines.connections[name].is_up)


async def soon(future: asyncio.Future[Float32]) -> Float32 | BaseException:
    async with asyncio.timeout(5):
        return (await asyncio.gather(future, return_exceptions=True))[0]
