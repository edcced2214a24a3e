"""How a process of the daemon runs: its event loop, its place among threads, its garbage."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_YOUNG_OBJECTS = 20_000
"""Objects made before the young ones are looked through: some 100 messages' worth."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, on uvloop where it is installed.

    Threads that wake up wait for the running one's turn to end instead of breaking it off, where
    the system has such a policy: while all cores compute, messages are then read many at a time,
    a few milliseconds later; with a core free nothing waits.
    """
    _stand_back()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # not made for every system

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _stand_back() -> None:
    if not hasattr(os, "sched_setscheduler"):
        return
    # A container may forbid it; it is a matter of speed alone.
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
