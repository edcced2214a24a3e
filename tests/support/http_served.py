"""The port of KServe's protocol over HTTP in this process, over a small model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from speakerd_server.calls.inference import Inference
from speakerd_server.cards import Bundle
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.wire.kserve_http_server import HttpServer
from support.administered import opened
from support.inferring import inferring
from support.over_http import Answer, Line

T = TypeVar("T")


def slow(bundle: Bundle) -> Lanes:
    """Open a backend that takes its time."""
    return Lanes(bundle.card.dim, [FakeBackend(bundle.card.dim, delay_s=0.4)])


@asynccontextmanager
async def serving(
    folder: Path, open_lanes: Callable[[Bundle], Lanes] = opened, **settings: Any
) -> AsyncIterator[tuple[str, Inference]]:
    """Serve "small/1"; gives the address, and what is behind it."""
    async with inferring(folder, open_lanes=open_lanes, **settings) as (inference, _):
        server = HttpServer(inference, "127.0.0.1:0")
        try:
            yield await server.start(), inference
        finally:
            await server.stop()


async def over(address: str, work: Callable[[Line], T]) -> T:
    """Do something over a connection, while the server goes on."""

    def connected() -> T:
        with Line(address) as line:
            return work(line)

    return await asyncio.to_thread(connected)


def refused(line: Line, content: bytes, status: int, reason: str) -> Answer:
    line.send(content)
    answer = line.answer()
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.error
    return answer
