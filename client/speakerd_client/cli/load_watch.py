"""A load as it goes on: a bar on a terminal, and what Ctrl-C does."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from speakerd_client.load import orders

R = TypeVar("R")
_ENDING_S = 2.0
"""Streams begin one after another, so the last one ends later than the first."""


class Watching:
    """Draws on standard error, and only where that is a terminal."""

    def __init__(self, bar: Progress, seconds: float) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=seconds + _ENDING_S, counts="")
        self._what = "load"
        self.has_begun = False
        """True once there is something that is worth telling when it is broken off."""
        self.stop = asyncio.Event()
        """Set to break off."""

    def watch(self, progress: orders.Progress, elapsed_s: float) -> None:
        """Draw how the load does."""
        self.has_begun = True
        counts = f"{progress.open} open, {progress.answers} answers, {progress.failed} failed"
        self._bar.update(self._task, completed=elapsed_s, description=self._what, counts=counts)

    def begins(self, what: str) -> None:
        """A step begins."""
        self.has_begun = True
        self._what = what
        self._bar.update(self._task, completed=0, description=what, counts="")

    def tell(self, text: str) -> None:
        """Leave a line above the bar."""
        if not self._bar.disable:
            self._bar.console.out(text, highlight=False)

    def interrupted(self) -> None:
        """Ctrl-C: break off and tell what there is; the next one, or before there is any, ends."""
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        self.stop.set()


def watched(work: Callable[[Watching], Coroutine[Any, Any, R]], seconds: float) -> R:
    """Do the work in an event loop of its own.

    Raises:
        KeyboardInterrupt: Ctrl-C came before anything was measured, or twice.
    """
    try:
        return asyncio.run(_watched(work, seconds))
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


async def _watched(work: Callable[[Watching], Coroutine[Any, Any, R]], seconds: float) -> R:
    errors = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    counts = TextColumn("{task.fields[counts]}")
    bar = Progress(*columns, counts, console=errors, transient=True, disable=not errors.is_terminal)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    with bar:
        watching = Watching(bar, seconds)

        def interrupted() -> None:
            watching.interrupted()
            if task is not None and not watching.has_begun:
                task.cancel()

        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
            loop.add_signal_handler(signal.SIGINT, interrupted)
        return await work(watching)
