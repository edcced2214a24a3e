from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from speakerd_server.life import Addresses, quiet_or_again, stop_on_signals, unless_stopped


@contextmanager
def handled() -> Iterator[asyncio.Event]:
    stopping = asyncio.Event()
    stop_on_signals(stopping)
    try:
        yield stopping
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_asks_for_the_end_and_a_second_one_asks_again(
    number: signal.Signals,
) -> None:
    with handled() as stopping:
        assert not stopping.is_set()
        for _ in range(2):
            os.kill(os.getpid(), number)
            await asyncio.wait_for(stopping.wait(), 5)
            stopping.clear()


async def test_a_hangup_of_the_terminal_is_not_for_us() -> None:
    with handled() as stopping:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)
        signal.signal(signal.SIGHUP, before)
        assert not stopping.is_set()


async def test_work_is_finished_while_nobody_wants_the_end() -> None:
    async def fail() -> None:
        raise OSError("full")

    assert await unless_stopped(asyncio.sleep(0), asyncio.Event())
    with pytest.raises(OSError, match="full"):
        await unless_stopped(fail(), asyncio.Event())


async def test_work_is_given_up_where_the_end_is_wanted() -> None:
    given_up, stopping = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            given_up.set()

    asyncio.get_running_loop().call_later(0.01, stopping.set)
    assert not await asyncio.wait_for(unless_stopped(work(), stopping), 5)
    assert given_up.is_set()


async def test_the_end_comes_when_no_call_goes_on() -> None:
    quiet, again = asyncio.Event(), asyncio.Event()
    ending = asyncio.create_task(quiet_or_again(quiet.wait(), again, 60.0))
    await asyncio.sleep(0.01)
    assert not ending.done()
    quiet.set()
    await asyncio.wait_for(ending, 5)


async def test_the_end_comes_when_it_is_asked_for_again() -> None:
    again = asyncio.Event()
    ending = asyncio.create_task(quiet_or_again(asyncio.Event().wait(), again, 60.0))
    await asyncio.sleep(0.01)
    assert not ending.done()
    again.set()
    await asyncio.wait_for(ending, 5)


@pytest.mark.parametrize("grace_s", [0.0, 0.05])
async def test_the_end_comes_after_the_grace(grace_s: float) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    begun_s = asyncio.get_running_loop().time()
    await asyncio.wait_for(quiet_or_again(never(), asyncio.Event(), grace_s), 5)
    assert asyncio.get_running_loop().time() - begun_s >= grace_s


async def test_nothing_goes_on_waiting_after_the_end() -> None:
    before = asyncio.all_tasks()
    await quiet_or_again(asyncio.Event().wait(), asyncio.Event(), 0.01)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


def test_a_daemon_without_a_metrics_page_says_so() -> None:
    assert Addresses("127.0.0.1:8001", "") != Addresses("127.0.0.1:8001", "127.0.0.1:8002")
    assert not Addresses("127.0.0.1:8001", "").metrics
