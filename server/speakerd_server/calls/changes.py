"""Changes of the loaded models, one after the other, and a bounded line of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from speakerd_server.errors import ModelsBusy

LIMIT = 16
"""Changes under way and in line together: an operator has a few, a client gone wild any number."""


class Changes:
    """The line in which changes of the models wait.

    Args:
        lock: Held by the one that is under way, and by whatever else keeps changes waiting.
    """

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock, self._count = lock, 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the others, and keep those behind waiting; raises ModelsBusy at once."""
        if self._count >= LIMIT:
            raise ModelsBusy(LIMIT)
        self._count += 1
        try:
            async with self._lock:
                yield
        finally:
            self._count -= 1
