"""Generating processes: they work for the one that started them, and never outlive it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from speakerd_client import InvalidRequest
from speakerd_client.call_options import VerifyOptions
from speakerd_client.errors import SpeakerdError
from speakerd_client.load.crew import Crew
from speakerd_client.load.orders import (
    ClosedOrder,
    LiveOrder,
    Material,
)
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.runs import unwatched
from speakerd_client.load.sound import tracks_of
from support.daemon import Daemon


def material(address: str, **fields: object) -> Material:
    plan = LivePlan(address, seconds=60.0, **fields)  # type: ignore[arg-type]
    return Material(plan, tracks_of([], synthetic_s=0.5))


def order(first: int = 0, step: int = 1) -> LiveOrder:
    return LiveOrder(first, step, 4, 1, 0.5, 0.0, 1e6, 60.0, 1.0)


def children() -> set[int]:
    """Ids of the processes that this one has started and that run."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == os.getpid() and state != "Z":
            found.add(int(path.parent.name))
    return found


async def until(ready: object, limit_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + limit_s
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)


async def test_no_process_is_left_when_the_crew_is_left(light: Daemon) -> None:
    before = children()
    async with Crew(material(light.address), 3):
        assert len(children() - before) == 3
    assert children() == before


async def test_a_process_that_dies_is_named_and_takes_the_others_along(light: Daemon) -> None:
    before = children()

    async def work() -> None:
        async with Crew(material(light.address), 2) as crew:
            victim = max(children() - before)
            running = asyncio.create_task(
                crew.run([order(0, 2), order(1, 2)], unwatched, asyncio.Event())
            )
            await asyncio.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            await running

    with pytest.raises(SpeakerdError, match="a generating process ended on its own, with -9"):
        await work()
    assert children() == before


async def test_what_a_process_cannot_prepare_is_its_error_here(light: Daemon) -> None:
    options = VerifyOptions(samples_per_chunk=10**12)
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        async with Crew(material(light.address, options=options), 1):
            pass


async def test_what_nobody_foresaw_in_a_process_is_an_error_here(light: Daemon) -> None:
    wrong = ClosedOrder(0, 1, 1, 1)

    async def work() -> None:
        async with Crew(material(light.address), 2) as crew:
            await crew.run([order(), wrong], unwatched, asyncio.Event())

    with pytest.raises(SpeakerdError, match="a generating process failed: TypeError: no job for"):
        await work()


async def test_a_process_that_cannot_be_started_is_named(
    light: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(SpeakerdError, match=r"cannot be started \(No such file or directory\)"):
        async with Crew(material(light.address), 1):
            pass


async def test_a_crew_takes_one_order_after_another(light: Daemon) -> None:
    async with Crew(material(light.address), 1) as crew:
        for _ in range(2):
            stop = asyncio.Event()
            asyncio.get_running_loop().call_later(0.8, stop.set)
            (tally,) = await crew.run([order()], unwatched, stop)
            assert tally.asked == 4
        stop.set()
        (tally,) = await crew.run([order()], unwatched, stop)
        assert tally.asked == 0
