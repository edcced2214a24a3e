from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator

import pytest
from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.engine import ModelEngine
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.lanes import Lanes
from speakerd_server.errors import StreamIdle
from speakerd_server.pipeline import Pipeline
from speakerd_server.session import Session
from speakerd_server.session_settings import SessionSettings
from speakerd_server.values import AudioFormat, Encoding
from support.signals import card, noise, to_bytes

WANTED = SessionSettings(AudioFormat(Encoding.PCM16LE, 16_000), card(), 16_000)
SECOND = to_bytes(noise(16_000), Encoding.PCM16LE)


async def three_seconds() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield SECOND


async def silent_after_a_second() -> AsyncIterator[bytes]:
    yield SECOND
    await asyncio.Event().wait()


async def heard_and_let_go(
    engine: ModelEngine, chunks: AsyncIterator[bytes], how: str
) -> weakref.ref[Session]:
    session = Session(WANTED)
    pipeline = Pipeline(
        session,
        engine,
        chunks,
        piece_bytes=32_000,
        windows_in_flight=2,
        idle_timeout_s=0.1 if how == "idle" else 10.0,
    )
    async with pipeline:
        heard = pipeline.heard()
        if how == "left":
            async for _ in heard:
                break
        elif how == "idle":
            with pytest.raises(StreamIdle):
                [one async for one in heard]
        else:
            assert [one async for one in heard][-1].final
    return weakref.ref(session)


@pytest.mark.parametrize("how", ["ended", "left", "idle"])
async def test_a_call_that_is_over_is_freed_at_once_not_with_the_next_garbage(how: str) -> None:
    batcher = Batcher(1, EngineSettings())
    await batcher.add("fake", Lanes(card().dim, [FakeBackend(card().dim)]), 16_000)
    chunks = silent_after_a_second() if how == "idle" else three_seconds()
    gc.disable()
    try:
        session = await heard_and_let_go(ModelEngine(batcher, "fake"), chunks, how)
        await asyncio.sleep(0.01)
        assert session() is None
    finally:
        gc.enable()
        await batcher.stop()
