"""One device for all calls: a bounded queue, a thread for each worker, named failures."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from speakerd_server import metrics, scheduling
from speakerd_server.engine.batch import Outcome, embed_windows
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.lanes import Lanes, warmed
from speakerd_server.engine.offline_room import OfflineRoom
from speakerd_server.engine.statistics import EngineStatistics, Tally
from speakerd_server.engine.window_queue import Batch, BatchLimits, Job, Taken, WindowQueue
from speakerd_server.errors import Draining, EngineDead, SpeakerdError
from speakerd_server.values import Float32, Window


@dataclass(slots=True, eq=False)
class _Served:
    """One model that takes windows."""

    lanes: Lanes
    limits: BatchLimits
    tally: Tally
    waited_for: int = 0
    """Windows that somebody waits for."""
    leaving: bool = False
    quiet: asyncio.Event = field(default_factory=asyncio.Event)


class Batcher:
    """Embeds the windows of all calls with every model of one device.

    All methods are called on one event loop. A worker that dies ends the engine: its batch, all
    that waits and every later window fail with `EngineDead`.

    Args:
        workers: Threads, each computing one batch at a time.
        settings: Limits.
        device: Its name, in statistics.
        most_windows: Largest batch that may be chosen where the settings leave it open.
        most_frames: Frames of a batch of several windows; longer windows go alone.
        on_death: Called once on the event loop if a worker dies.
        on_away: Called on the event loop when the device goes away, with the cause, and with None
            when it is back.
    """

    def __init__(
        self,
        workers: int,
        settings: EngineSettings,
        *,
        device: str = "cpu",
        most_windows: int = 8,
        most_frames: int = 2400,
        on_death: Callable[[EngineDead], None] | None = None,
        on_away: Callable[[str | None], None] | None = None,
    ) -> None:
        self.workers, self._settings, self._device = workers, settings, device
        self._most_windows = settings.maximum_batch_windows or most_windows
        self._most_frames = most_frames
        self._on_death, self._on_away = on_death, on_away
        self._queue = WindowQueue(settings.queue_windows, workers, settings.maximum_wait_ms / 1e3)
        self._room = OfflineRoom(settings.offline_windows, workers - 1)
        self._models: dict[str, _Served] = {}
        self._threads: list[threading.Thread] = []
        self._dead: str | None = None
        self._stopping = False

    @property
    def queue_limit_windows(self) -> int:
        """Windows that may wait; more are refused."""
        return self._settings.queue_windows

    async def add(self, model: str, lanes: Lanes, warm_samples: int, name: str = "") -> None:
        """Warm a model up, measure its batches, and take windows for it from now on.

        Args:
            model: Key, not in use.
            lanes: With as many narrow backends as there are workers; closed by `remove` and
                `stop`, and here where it raises.
            warm_samples: Length of the windows to expect, at least 400.
            name: In errors and metrics; the key where it is empty.

        Raises:
            ModelRefused: A backend gives no embedding of noise.
            EngineDead: A worker has died.
            Draining: The engine was stopped.
        """
        settings, name = self._settings, name or model
        self._loop = asyncio.get_running_loop()
        longest_s = settings.maximum_batch_ms / 1000.0
        frames = self._most_frames
        try:
            tried = lanes, name, warm_samples, self._most_windows, frames, longest_s
            gives_way = bool(self._models)
            lanes, cost = await asyncio.to_thread(warmed, *tried, gives_way=gives_way)
            self._check_works()
        except BaseException:
            lanes.close()
            raise
        windows = settings.maximum_batch_windows or cost.best_windows
        limits = BatchLimits(windows, frames, cost.fixed_s, lanes.side_by_side)
        self._queue.set_limits(model, limits)
        self._models[model] = _Served(lanes, limits, Tally(self._device, name, cost))
        if lanes.watch is not None:
            lanes.watch.tell(lambda _: self._post(self._tell_away))
            if self.away is not None:
                self._tell_away()
        self._start_workers()

    async def remove(self, model: str) -> None:
        """Take no more windows for a model, wait for those that are out, and close its backends.

        Once the engine is being stopped, that closes them.
        """
        served = self._models.get(model)
        if served is None:
            return
        served.leaving = True
        if served.waited_for:
            served.quiet.clear()
            await served.quiet.wait()
        await asyncio.to_thread(self._queue.remove, model)
        if not self._stopping:
            del self._models[model]
            await asyncio.to_thread(served.lanes.close)

    @property
    def away(self) -> str | None:
        """Why the device is not there now; None where it is."""
        watches = (served.lanes.watch for served in self._models.values())
        return next((one.away for one in watches if one is not None and one.away), None)

    def has(self, model: str) -> bool:
        """Tell whether a model was added and is not removed yet."""
        return model in self._models

    def waited_s(self) -> float:
        """Give how long the first live window in line has waited; 0 when none does."""
        return self._queue.waited_s()

    async def submit_offline(
        self, model: str, window: Window, taken: Taken | None = None
    ) -> asyncio.Future[Float32]:
        """Queue a window as `submit` does, but behind live ones, and once there is room for it."""
        is_long = window.rows.size > self._most_frames
        put = functools.partial(self.submit, model, window, live=False, taken=taken)
        return await self._room.submitted(is_long, put)

    def submit(
        self,
        model: str,
        window: Window,
        *,
        live: bool = True,
        taken: Taken | None = None,
    ) -> asyncio.Future[Float32]:
        """Queue a window and give the future of its embedding, float32[dim]; never blocks.

        The future ends with the embedding, `EngineFailed`, `RemoteEngineUnavailable` or
        `EngineDead`.
        Cancelling it takes the window out of the queue.

        Args:
            model: Key of one that was added.
            window: What to embed.
            live: Goes before every window that is not.
            taken: Called, on a worker's thread, when its batch is about to be computed.

        Raises:
            EngineQueueFull: As many windows wait as may.
            EngineDead: A worker has died.
            Draining: The engine was stopped, or the model is being removed.
        """
        self._check_works()
        served = self._models.get(model)
        if served is None or served.leaving:
            raise Draining
        future: asyncio.Future[Float32] = self._loop.create_future()
        self._queue.put(Job(model, window, future, time.monotonic(), live, taken))
        served.waited_for += 1
        future.add_done_callback(functools.partial(_left, served))
        metrics.QUEUED_WINDOWS.set(len(self._queue))
        return future

    def withdraw(self, future: asyncio.Future[Float32]) -> bool:
        """Cancel a future of `submit` unless a worker has its window, and tell whether it did."""
        return self._queue.withdraw(future)

    async def stop(self) -> None:
        """End the workers after their batches, fail what still waits, close the backends."""
        self._stopping = True
        self._fail(self._queue.close(), Draining())
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._threads.clear()
        for served in self._models.values():
            served.lanes.close()
        self._models.clear()

    def statistics(self, model: str) -> EngineStatistics:
        """Say what was done for a model so far."""
        queue = self._queue
        tally = self._models[model].tally
        watch = self._models[model].lanes.watch
        dead = self._dead or (watch.away if watch is not None else None)
        return tally.statistics(queue.length_of(model), queue.maximum_length, dead)

    def _check_works(self) -> None:
        if self._dead is not None:
            raise EngineDead(self._dead)
        if self._stopping:
            raise Draining

    def _start_workers(self) -> None:
        for number in range(len(self._threads), self.workers):
            thread = threading.Thread(
                target=self._run_worker, args=(number,), name=f"engine-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run_worker(self, number: int) -> None:
        """Life of a worker thread."""
        batch: Batch | None = None
        try:
            with scheduling.forward():
                while batch := self._queue.take(batch):
                    self._post(self._settle, batch, *self._embed(number, batch))
        # The thread's edge: whatever ends it must reach everyone who waits, or they wait for ever.
        except BaseException as error:  # noqa: BLE001
            jobs = batch.jobs if batch is not None else []
            self._post(self._die, f"{type(error).__name__}: {error}", jobs)

    def _embed(self, number: int, batch: Batch) -> tuple[list[Outcome], float]:
        started_s = time.monotonic()
        served, jobs = self._models[batch.model], batch.jobs
        served.tally.taken([(job.live, started_s - job.queued_at_s) for job in jobs])
        for job in jobs:
            if job.taken is not None:
                job.taken(started_s, len(jobs))
        lanes = served.lanes
        backend = lanes.wide if batch.alone and lanes.wide is not None else lanes.narrow[number]
        outcomes = embed_windows(backend, [job.window for job in jobs], lanes.dim)
        return outcomes, time.monotonic() - started_s

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        """Continue on the event loop; a loop that is closed has nobody left who waits."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _settle(self, batch: Batch, outcomes: Sequence[Outcome], compute_s: float) -> None:
        """Hand out one batch, on the event loop."""
        failed = sum(isinstance(outcome, SpeakerdError) for outcome in outcomes)
        self._models[batch.model].tally.computed(len(batch.jobs), failed, compute_s)
        metrics.QUEUED_WINDOWS.set(len(self._queue))
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, SpeakerdError):
                job.future.set_exception(outcome)
            else:
                job.future.set_result(outcome)

    def _die(self, cause: str, jobs: Sequence[Job]) -> None:
        """End the engine, on the event loop."""
        first, self._dead = self._dead is None, self._dead or cause
        error = EngineDead(self._dead)
        self._fail([*jobs, *self._queue.close()], error)
        if first and self._on_death is not None:
            self._on_death(error)

    def _tell_away(self) -> None:
        if self._on_away is not None and not self._stopping:
            self._on_away(self.away)

    def _fail(self, jobs: Sequence[Job], error: SpeakerdError) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)
        metrics.QUEUED_WINDOWS.set(len(self._queue))


def _left(served: _Served, _embedding: asyncio.Future[Float32]) -> None:
    served.waited_for -= 1
    if not served.waited_for:
        served.quiet.set()
