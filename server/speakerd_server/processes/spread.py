"""Windows of one front end, each to the engine that will be done with it first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.offline_room import OfflineRoom
from speakerd_server.engine.statistics import EngineStatistics
from speakerd_server.engine.window_queue import Taken
from speakerd_server.errors import Draining, EngineLost, EngineQueueFull, RemoteEngineUnavailable
from speakerd_server.processes.engine_connection import EngineConnection, Job
from speakerd_server.values import Float32, Window

PATIENCE_S = 10.0
"""A window that no engine has begun waits so long for one to come back."""
LONG_FRAMES = 2400
"""Windows of more frames are long where the settings do not say it."""


class Engines:
    """All engine processes, as one front end has them.

    Args:
        paths: Socket file of each, by name.
        settings: Limits.
    """

    def __init__(self, paths: Mapping[str, Path], settings: EngineSettings) -> None:
        self.settings = settings
        limit = settings.queue_windows
        self.connections = {
            name: EngineConnection(
                name, path, limit, self._place_waiting, self._orphaned, self._not_embedded
            )
            for name, path in paths.items()
        }
        self.room = OfflineRoom(settings.offline_windows, 1)
        self._rates: dict[int, Mapping[str, float]] = {}
        self._waiting: deque[Job] = deque(maxlen=limit)

    def open(self) -> None:
        """Begin to connect to every engine."""
        for connection in self.connections.values():
            connection.open()

    async def close(self) -> None:
        """Let go of every engine."""
        for connection in self.connections.values():
            await connection.close()
        for job in self._waiting:
            self._give_up(job)

    def host(self, model: int, rates: Mapping[str, float]) -> None:
        """Say which engines have a model, and how many windows each embeds in a second."""
        self._rates[model] = rates

    def forget(self, model: int) -> None:
        """Give an engine no more windows for a model."""
        self._rates.pop(model, None)

    def waited_s(self, model: int) -> float:
        """Give how long a live window waits where it waits least."""
        found = [self.connections[name].waited_s for name in self._rates.get(model, {})]
        return min(found, default=0.0)

    def submit(
        self, model: int, window: Window, *, live: bool, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        """Give a window to an engine. Raises Draining and EngineQueueFull."""
        if model not in self._rates:
            raise Draining
        loop = asyncio.get_running_loop()
        job = Job(model, window, live, loop.create_future(), taken)
        self._place(job)
        return job.future

    def _there(self, job: Job) -> list[str]:
        """Name the engines that have its model and can embed now."""
        connections = {name: self.connections[name] for name in self._rates.get(job.model, {})}
        return [name for name, one in connections.items() if one.is_up and not one.is_away]

    def _place(self, job: Job) -> None:
        rates = self._rates.get(job.model, {})
        up = [name for name in rates if self.connections[name].is_up]
        there = self._there(job)
        if job.is_second:
            there = [name for name in there if name != job.given_to]
        # The one that would be done first: what is there already counts by its speed.
        for name in sorted(there or up, key=lambda one: self._expected(one, rates[one])):
            try:
                self.connections[name].submit(job)
            except EngineQueueFull:
                continue
            return
        if len(self._waiting) == self._waiting.maxlen:
            for gone in [one for one in self._waiting if one.future.done()]:
                self._waiting.remove(gone)
        if up or len(self._waiting) == self._waiting.maxlen:
            raise EngineQueueFull(self.settings.queue_windows)
        self._waiting.append(job)
        asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up, job)

    def _expected(self, name: str, rate: float) -> tuple[bool, float]:
        """Order engines: those that front ends have filled up together, which may refuse, last."""
        windows = self.connections[name].windows
        return windows >= self.settings.queue_windows, (windows + 1) / rate

    def _give_up(self, job: Job) -> None:
        if job.slot is None and not job.future.done():
            job.future.set_exception(EngineLost(", ".join(self._rates.get(job.model, {}))))

    def _place_waiting(self) -> None:
        waiting = [job for job in self._waiting if not job.future.done()]
        self._waiting.clear()
        self._orphaned(waiting)

    def _orphaned(self, jobs: list[Job]) -> None:
        for job in sorted(jobs, key=lambda one: not one.live):
            job.slot = None
            try:
                self._place(job)
            except EngineQueueFull as error:
                job.future.set_exception(error)

    def _not_embedded(self, job: Job, error: RemoteEngineUnavailable) -> None:
        """Give a window, once, to another engine where the one that had it is away."""
        if job.is_second or not set(self._there(job)) - {job.given_to}:
            job.future.set_exception(error)
            return
        job.is_second = True
        self._orphaned([job])


class RemoteEngine:
    """One model, as calls know an engine."""

    def __init__(self, engines: Engines, model: int) -> None:
        self._engines, self._model = engines, model
        self._long_frames = engines.settings.maximum_batch_frames or LONG_FRAMES

    @property
    def queue_limit_windows(self) -> int:
        """Windows of this process that an engine may have."""
        return self._engines.settings.queue_windows

    @property
    def waited_s(self) -> float:
        """Give how long a live window waits where it waits least."""
        return self._engines.waited_s(self._model)

    def submit(self, window: Window) -> asyncio.Future[Float32]:
        """Give a live window to an engine; see Engine."""
        return self._engines.submit(self._model, window, live=True)

    async def submit_offline(
        self, window: Window, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        """Give a window of a whole recording to an engine once there is room; see Engine."""
        return await self._engines.room.submitted(
            window.rows.size > self._long_frames,
            lambda: self._engines.submit(self._model, window, live=False, taken=taken),
        )

    def statistics(self) -> Sequence[EngineStatistics]:
        """Give nothing: the engines tell the supervisor."""
        return ()
