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
from speakerd_server.engine.lanes import Lanes, warmed
from speakerd_server.engine.offline_room import OfflineRoom
from speakerd_server.engine.statistics import EngineStatistics, Tally
from speakerd_server.engine.window_queue import Batch, BatchLimits, Job, WindowQueue
from speakerd_server.errors import Draining, EngineDead, EngineFailed, SpeakerdError
from speakerd_server.values import Float32, Window


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where windows are embedded, in what batches, and how many may wait."""

    devices: tuple[str, ...] = field(
        default=("cpu",),
        metadata={"each": r"cpu|gpu:[0-9]{1,3}", "written": "write cpu or gpu:N"},
    )
    """What computes: cpu, and gpu:N for the GPU that CUDA gives this number. Several have a process
    each; cpu may be there more than once."""
    workers: int = field(default=0, metadata={"minimum": 0, "maximum": 256})
    """Batches that are computed at the same time; 0: one for each processor, two on a GPU."""
    threads_per_worker: int = field(default=1, metadata={"minimum": 1, "maximum": 256})
    """Processors that one batch may use; many batches of one thread give the most windows."""
    maximum_batch_windows: int = field(default=0, metadata={"minimum": 0, "maximum": 256})
    """Windows in one batch at most; 0: as many as pay, measured at the start."""
    maximum_batch_frames: int = field(default=0, metadata={"minimum": 0, "maximum": 1000000})
    """Frames of 10 ms in one batch at most, a single longer window goes alone; 0: 2400 on
    processors, and full batches of windows of 3 s on a GPU."""
    maximum_batch_ms: float = field(default=200.0, metadata={"minimum": 1.0, "maximum": 60000.0})
    """No batch size is chosen that takes longer, but one window always may."""
    maximum_wait_ms: float = field(default=5.0, metadata={"minimum": 0.0, "maximum": 1000.0})
    """Longest wait for others to share a batch while a worker is free. It waits at most for what a
    batch costs besides its windows, and only while another one can be expected meanwhile."""
    queue_windows: int = field(default=512, metadata={"minimum": 1, "maximum": 1000000})
    """Windows that may wait; more are refused at once."""
    offline_windows: int = field(default=16, metadata={"minimum": 1, "maximum": 1000000})
    """Windows of whole recordings in the queue or at work at once; others wait with their calls."""


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
    ) -> None:
        self.workers, self._settings, self._device = workers, settings, device
        self._most_windows = settings.maximum_batch_windows or most_windows
        self._most_frames, self._on_death = most_frames, on_death
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

    def has(self, model: str) -> bool:
        """Tell whether a model was added and is not removed yet."""
        return model in self._models

    def waited_s(self) -> float:
        """Give how long the first live window in line has waited; 0 when none does."""
        return self._queue.waited_s()

    async def submit_offline(self, model: str, window: Window) -> asyncio.Future[Float32]:
        """Queue a window of a whole recording, behind live ones, once there is room for it.

        The future and the errors are those of `submit`.
        """
        is_long = window.rows.size > self._most_frames
        return await self._room.submitted(is_long, lambda: self.submit(model, window, live=False))

    def submit(
        self,
        model: str,
        window: Window,
        *,
        live: bool = True,
        taken: Callable[[], None] | None = None,
    ) -> asyncio.Future[Float32]:
        """Queue a window and give the future of its embedding, float32[dim]; never blocks.

        The future ends with the embedding, `BatchFailed`, `EmbeddingInvalid` or `EngineDead`.
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
        queue, tally = self._queue, self._models[model].tally
        return tally.statistics(queue.length_of(model), queue.maximum_length, self._dead)

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
                job.taken()
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
        failed = sum(isinstance(outcome, EngineFailed) for outcome in outcomes)
        self._models[batch.model].tally.computed(len(batch.jobs), failed, compute_s)
        metrics.QUEUED_WINDOWS.set(len(self._queue))
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            if job.future.done():
                continue
            if isinstance(outcome, EngineFailed):
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

    def _fail(self, jobs: Sequence[Job], error: SpeakerdError) -> None:
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)
        metrics.QUEUED_WINDOWS.set(len(self._queue))


def _left(served: _Served, _embedding: asyncio.Future[Float32]) -> None:
    served.waited_for -= 1
    if not served.waited_for:
        served.quiet.set()
