"""A client that is closed ends whatever it is doing, in every task that waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from speakerd_client import AsyncClient, CallEnded, Client, read_audio
from support.daemon import Daemon
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")


async def embed_again_and_again(client: AsyncClient) -> None:
    while True:
        await client.embed(CALL)


async def wait_for_an_update(client: AsyncClient) -> None:
    async with client.stream_verify(None, CALL.format) as call:
        async for _ in call:
            pass


async def wait_for_progress(client: AsyncClient) -> None:
    async with client.stream_enroll("closing", CALL.format) as call:
        async for _ in call:
            pass


async def watch(client: AsyncClient) -> None:
    async for _ in client.watch_sessions(interval_s=60):
        pass


WORK: list[Callable[[AsyncClient], Awaitable[None]]] = [
    embed_again_and_again,
    wait_for_an_update,
    wait_for_progress,
    watch,
]


@pytest.mark.parametrize("work", WORK)
async def test_closing_ends_a_call_in_another_task(
    daemon: Daemon, work: Callable[[AsyncClient], Any]
) -> None:
    client = AsyncClient(daemon.address)
    task = asyncio.create_task(work(client))
    await asyncio.sleep(0.2)
    await client.close()
    with pytest.raises(CallEnded, match=r"closed|abandoned"):
        await task


@pytest.mark.parametrize("work", WORK)
async def test_a_task_that_is_cancelled_is_cancelled_and_leaves_the_client_usable(
    daemon: Daemon, work: Callable[[AsyncClient], Any]
) -> None:
    async with AsyncClient(daemon.address) as client:
        task = asyncio.create_task(work(client))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.health()


def test_a_blocking_client_is_closed_from_another_thread(daemon: Daemon) -> None:
    client = Client(daemon.address)
    moments = client.watch_sessions(interval_s=60)
    next(moments)
    closing = threading.Timer(0.2, client.close)
    closing.start()
    with pytest.raises(CallEnded):
        next(moments)
    closing.join()
