"""What calls know of an engine: windows of one model in, their embeddings out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from speakerd_server.engine.batcher import Batcher
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.engine.window_queue import Taken
from speakerd_server.values import Float32, Window


class Engine(Protocol):
    """Embeds the windows of one model, here or in other processes, on one device or several."""

    @property
    def queue_limit_windows(self) -> int:
        """Windows that may wait; more are refused."""

    @property
    def waited_s(self) -> float:
        """Seconds that the first live window in line has waited, of any model; 0 without one."""

    def submit(self, window: Window) -> asyncio.Future[Float32]:
        """Queue a live window and give the future of its embedding, float32[dim]; never blocks.

        Cancelling the future takes the window back. It ends with the embedding or a SpeakerdError.

        Raises:
            EngineQueueFull: As many windows wait as may.
            EngineDead: Nothing is there that could embed.
            Draining: The engine was stopped, or the model is being unloaded.
        """

    async def submit_offline(
        self, window: Window, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        """Queue a window of a whole recording, behind live ones, once there is room for it.

        The future and the errors are those of `submit`. `taken` is called on any thread, before the
        future ends with an embedding.
        """

    def statistics(self) -> Sequence[EngineStatistics]:
        """Say what was done with the model so far, device by device; nothing once it is gone."""


class ModelEngine:
    """One model of a batcher in this process."""

    def __init__(self, batcher: Batcher, model: str) -> None:
        self._batcher, self._model = batcher, model

    @property
    def queue_limit_windows(self) -> int:
        """Windows that may wait; more are refused."""
        return self._batcher.queue_limit_windows

    @property
    def waited_s(self) -> float:
        """Give how long the first live window in line has waited; 0 when none does."""
        return self._batcher.waited_s()

    def submit(self, window: Window) -> asyncio.Future[Float32]:
        """Queue a live window; see `Batcher.submit`."""
        return self._batcher.submit(self._model, window)

    async def submit_offline(
        self, window: Window, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        """Queue a window of a whole recording; see `Batcher.submit_offline`."""
        return await self._batcher.submit_offline(self._model, window, taken)

    def statistics(self) -> Sequence[EngineStatistics]:
        """Say what was done with the model so far; nothing once it was removed."""
        if not self._batcher.has(self._model):
            return []
        return [self._batcher.statistics(self._model)]
