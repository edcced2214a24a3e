"""What the life of a daemon is made of, whether it has one process or several."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a started daemon can be reached."""

    grpc: str
    """Host and port."""
    metrics: str
    """Host and port; empty: none."""
    http: str = ""
    """Host and port of KServe's protocol over HTTP; empty: none."""


def stop_on_signals(stopping: asyncio.Event) -> None:
    """Set the event at SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)


async def unless_stopped(work: Coroutine[Any, Any, None], stopping: asyncio.Event) -> bool:
    """Finish the work and give True, or give it up when a signal comes; raises what it raises."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        return working.done()
    finally:
        working.cancel()
        ending.cancel()
        await asyncio.wait([working, ending])


async def quiet_or_again(
    quiet: Coroutine[Any, Any, Any], again: asyncio.Event, grace_s: float
) -> None:
    """Return when no call goes on any more, when a signal comes again, or after the grace."""
    ends = [asyncio.ensure_future(quiet), asyncio.ensure_future(again.wait())]
    await asyncio.wait(ends, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
