"""How a process of the daemon runs: its event loop, its turns, its garbage, its memory."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import importlib.util
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from speakerd_server import scheduling

T = TypeVar("T")

_YOUNG_OBJECTS = 20_000
"""Objects made before the young ones are looked through: some 100 messages' worth."""
_KEPT_BYTES = 1 << 20
"""Freed memory that the C library keeps for each thread."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, on uvloop where it is installed."""
    scheduling.stand_back()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    _keep_little_memory()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _keep_little_memory() -> None:
    """Give freed memory back to the system, a large block at once.

    By itself glibc keeps twice the largest block that was ever freed for each thread that freed
    one, where malloc_trim does not look: with models loaded and unloaded, as much as a model.
    """
    if sys.platform == "linux":
        set_option = getattr(ctypes.CDLL(None), "mallopt", None)
        if set_option is not None:
            set_option(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            set_option(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # not made for every system

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
