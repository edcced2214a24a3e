"""How a process of the daemon runs: its event loop, its turns, its garbage."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from speakerd_server import scheduling

T = TypeVar("T")

_YOUNG_OBJECTS = 20_000
"""Objects made before the young ones are looked through: some 100 messages' worth."""


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, on uvloop where it is installed."""
    scheduling.stand_back()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 50)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    import uvloop  # not made for every system

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
