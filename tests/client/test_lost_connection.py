"""A daemon that is killed ends every call that is under way by name."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from speakerd_client import AsyncClient, NotReachable, SpeakerdError, read_audio
from speakerd_client.patience import patiently
from support.daemon import Daemon, over_fake_engine
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")
BATCH_S = 0.5


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose batches take so long that it can be killed meanwhile."""
    with over_fake_engine(tmp_path, delay_s=BATCH_S) as daemon:
        yield daemon
        daemon.kill()


async def until_a_call_is_open(client: AsyncClient) -> None:
    async with asyncio.timeout(10):
        while not (await client.list_models())[0].open_calls:  # noqa: ASYNC110 - not of this process
            await asyncio.sleep(0.02)


def assert_lost(error: SpeakerdError, daemon: Daemon) -> None:
    assert type(error) is NotReachable
    assert (error.reason, error.code) == ("CONNECTION_LOST", "UNAVAILABLE")
    assert f"the connection to the daemon at {daemon.address} was lost during the call" in str(
        error
    )
    assert "make the call once more" in str(error)


async def test_a_whole_recording_under_way(slow: Daemon) -> None:
    async with AsyncClient(slow.address) as client:
        embedding = asyncio.create_task(client.embed(CALL))
        await until_a_call_is_open(client)
        slow.kill()
        with pytest.raises(NotReachable) as caught:
            await embedding
    assert_lost(caught.value, slow)


@pytest.mark.parametrize("writing", [True, False])
async def test_a_stream_under_way_whether_it_sends_or_waits(slow: Daemon, writing: bool) -> None:
    async def audio() -> AsyncIterator[bytes]:
        yield CALL.content
        while writing:
            yield bytes(3200)
            await asyncio.sleep(0.01)

    async with AsyncClient(slow.address) as client:
        async with client.stream_verify(None, CALL.format) as call:
            sending = asyncio.create_task(call.send_all(audio()))
            await asyncio.sleep(0.2)
            slow.kill()
            with pytest.raises(NotReachable) as caught:
                _ = [each async for each in call]
            await sending
        assert caught.value.request_id == call.request_id != ""
        assert_lost(caught.value, slow)
        with pytest.raises(NotReachable, match="no daemon answers") as gone:
            await client.server_info()
        assert gone.value.reason == ""


async def test_a_watch_of_live_calls(slow: Daemon) -> None:
    async with AsyncClient(slow.address) as client:
        moments = client.watch_sessions(interval_s=0.1)
        assert (await anext(moments)).sessions == ()
        slow.kill()
        with pytest.raises(NotReachable) as caught:
            _ = [each async for each in moments]
    assert_lost(caught.value, slow)


@pytest.mark.timeout(60)
async def test_a_worker_that_is_killed_costs_its_own_calls_alone(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--server-workers=2") as several:
        async with AsyncClient(several.address) as client:
            async with client.stream_verify(None, CALL.format) as call:
                await call.send(CALL.content)
                moment = await anext(client.watch_sessions())
                (worker,) = {each.worker for each in moment.sessions}
                pids = {each.name: each.pid for each in (await client.server_info()).processes}
                os.kill(pids[f"worker {worker}"], signal.SIGKILL)
                with pytest.raises(NotReachable) as caught:
                    _ = [each async for each in call]
            assert_lost(caught.value, several)
            # A new connection may still be offered to the one that is gone.
            assert (await patiently(lambda: client.embed(CALL))).window_count > 0
            restarts = 0
            while not restarts:
                processes = (await patiently(client.server_info)).processes
                restarts = sum(each.restarts for each in processes)
                await asyncio.sleep(0.05)
            assert restarts == 1
