"""A process's share of the streams: whose they are, when they begin and with what."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from speakerd.v1.verification_pb2 import StreamVerifyRequest
from speakerd_client import NotReachable
from speakerd_client.load import channels
from speakerd_client.load.course import Wire
from speakerd_client.load.live import LiveJob
from speakerd_client.load.orders import LiveOrder, Progress
from speakerd_client.load.plan import LivePlan
from support.scripted import FINAL, OPENED

STREAMS, SPREAD_S = 8, 0.8


def wire(name: str, messages: int) -> Wire:
    config = StreamVerifyRequest()
    config.config.request_id = name
    audio = [StreamVerifyRequest(audio=b"%d" % number) for number in range(messages)]
    return Wire(config.SerializeToString(), [each.SerializeToString() for each in audio], 800, 8000)


@asynccontextmanager
async def noting(found: list[tuple[float, str, int]]) -> AsyncIterator[str]:
    """Serve streams and note when each begins, its track and its first message."""

    async def script(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        name = StreamVerifyRequest.FromString(await anext(requests)).config.request_id
        begin_s = time.monotonic()
        yield OPENED.SerializeToString()
        first = StreamVerifyRequest.FromString(await anext(requests)).audio
        found.append((begin_s, name, int(first)))
        async for _ in requests:
            pass
        yield FINAL.SerializeToString()

    server = grpc.aio.server()
    method: Any = grpc.stream_stream_rpc_method_handler(script)
    handler = grpc.method_handlers_generic_handler(
        "speakerd.v1.VerificationService", {"StreamVerify": method}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def job(address: str, first: int = 0, step: int = 1, connections: int = 2) -> LiveJob:
    plan = LivePlan(address, seconds=0.2)
    order = LiveOrder(first, step, STREAMS, connections, SPREAD_S, 0.0, 1e6, 0.2, 1.0)
    return LiveJob(plan, [wire("one", 40), wire("two", 12)], order)


async def ran(each: LiveJob) -> tuple[float, Progress]:
    await each.connect()
    begin_s = time.monotonic()
    await each.run(begin_s)
    await each.close()
    return begin_s, each.progress()


async def test_streams_begin_one_after_another_from_places_of_their_own() -> None:
    found: list[tuple[float, str, int]] = []
    async with noting(found) as address:
        begin_s, progress = await ran(job(address))
    assert [name for _, name, _ in found] == ["one", "two"] * 4
    assert [place for _, name, place in found if name == "one"] == [0, 10, 20, 30]
    assert [place for _, name, place in found if name == "two"] == [0, 3, 6, 9]
    for number, (at_s, _, _) in enumerate(found):
        assert at_s >= begin_s + SPREAD_S * number / STREAMS
    assert progress == Progress(0, STREAMS, 0, 0)


async def test_processes_share_the_streams_between_them() -> None:
    found: list[tuple[float, str, int]] = []
    async with noting(found) as address:
        _, progress = await ran(job(address, first=1, step=3))
    # Of the streams 0 to 7 those are 1, 4 and 7.
    assert [(name, place) for _, name, place in found] == [("two", 0), ("one", 20), ("two", 9)]
    assert progress.done == 3


async def test_a_process_without_a_connection_has_no_stream() -> None:
    _, progress = await ran(job("127.0.0.1:1", first=2, step=3, connections=0))
    assert progress == Progress()


async def test_a_daemon_that_takes_no_connection_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "CONNECT_S", 0.2)
    with pytest.raises(NotReachable, match="0 of 2 connections"):
        await ran(job("127.0.0.1:1"))
