"""One engine for all calls: a bounded queue, a worker thread for each backend, named failures."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from speakerd_server import metrics
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.batch import Outcome, embed_windows
from speakerd_server.engine.window_queue import BatchLimits, Job, WindowQueue
from speakerd_server.errors import Draining, EngineDead, EngineFailed, SpeakerdError
from speakerd_server.values import Float32, Window


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine uses the processor and how much may wait for it."""

    workers: int = field(default=0, metadata={"minimum": 0, "maximum": 256})
    """Sessions that compute at the same time; 0: one for each processor."""
    threads_per_worker: int = field(default=1, metadata={"minimum": 1, "maximum": 256})
    """Processors that one session may use; many sessions of one thread give the most windows."""
    maximum_batch_windows: int = field(default=4, metadata={"minimum": 1, "maximum": 256})
    """Windows in one batch at most."""
    maximum_batch_frames: int = field(default=2400, metadata={"minimum": 1, "maximum": 1000000})
    """Frames of 10 ms in one batch at most; a single longer window goes alone."""
    maximum_wait_ms: float = field(default=0.0, metadata={"minimum": 0.0, "maximum": 1000.0})
    """How long a window waits for others to share a batch while a worker is free."""
    queue_windows: int = field(default=512, metadata={"minimum": 1, "maximum": 1000000})
    """Windows that may wait; more are refused at once."""
    offline_windows: int = field(default=16, metadata={"minimum": 1, "maximum": 1000000})
    """Windows of whole recordings in the queue or at work at once; others wait with their calls."""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What the engine did since it was started."""

    queued_windows: int
    """Waiting now."""
    maximum_queued_windows: int
    """Most that ever waited."""
    windows_embedded: int
    """Embeddings handed out."""
    batches: int
    """Computed, failed ones included."""
    failed_batches: int
    """In which at least one window got no embedding."""
    dead: str | None
    """Why the engine died; None while it works."""


class Batcher:
    """Embeds the windows of all calls.

    `start`, `submit` and `stop` are called on one event loop. A worker that dies ends the engine:
    its batch, all that waits and every later window fail with `EngineDead`.

    Args:
        backends: One worker thread for each; closed by `stop`.
        settings: Limits.
        dim: Length of an embedding.
    """

    def __init__(self, backends: Sequence[Backend], settings: EngineSettings, dim: int) -> None:
        self._backends, self._settings, self._dim = tuple(backends), settings, dim
        limits = BatchLimits(
            settings.maximum_batch_windows,
            settings.maximum_batch_frames,
            settings.maximum_wait_ms / 1000.0,
        )
        self._queue = WindowQueue(settings.queue_windows, limits)
        self._offline = asyncio.Semaphore(settings.offline_windows)
        self._long = asyncio.Semaphore(max(1, len(self._backends) - 1))
        self._threads: list[threading.Thread] = []
        self._dead: str | None = None
        self._stopping = False
        self._windows_embedded = self._batches = self._failed_batches = 0

    @property
    def queue_limit_windows(self) -> int:
        """Windows that may wait; more are refused."""
        return self._settings.queue_windows

    async def start(
        self, warm_samples: int, on_death: Callable[[EngineDead], None] | None = None
    ) -> None:
        """Run every backend once at its full batch and at one window, then take windows.

        Args:
            warm_samples: Length of the windows to expect, at least 400.
            on_death: Called once on the event loop if a worker dies.

        Raises:
            EngineDead: A backend cannot embed a window of noise.
        """
        self._loop = asyncio.get_running_loop()
        self._on_death = on_death
        warming = [asyncio.to_thread(self._warm, item, warm_samples) for item in self._backends]
        await asyncio.gather(*warming)
        for number, backend in enumerate(self._backends):
            run = functools.partial(self._run_worker, backend)
            self._threads.append(threading.Thread(target=run, name=f"engine-{number}", daemon=True))
            self._threads[-1].start()

    @property
    def waited_s(self) -> float:
        """Give how long the first live window in line has waited; 0 when none does."""
        return self._queue.waited_s()

    async def submit_offline(self, window: Window) -> asyncio.Future[Float32]:
        """Queue a window of a whole recording, behind live ones, once there is room for it.

        A window of more than `maximum_batch_frames` takes long, so one worker is always kept
        free of those; it waits for that first, so that long ones never hold the room of others.
        Raises what `submit` raises.
        """
        is_long = window.rows.size > self._settings.maximum_batch_frames
        rooms = [self._long, self._offline] if is_long else [self._offline]
        taken: list[asyncio.Semaphore] = []
        try:
            for room in rooms:
                await room.acquire()
                taken.append(room)
            future = self.submit(window, live=False)
        except BaseException:
            for room in taken:
                room.release()
            raise
        for room in rooms:
            future.add_done_callback(functools.partial(_leave, room))
        return future

    def submit(self, window: Window, *, live: bool = True) -> asyncio.Future[Float32]:
        """Queue a window and give the future of its embedding, float32[dim]; never blocks.

        The future ends with the embedding, `BatchFailed`, `EmbeddingInvalid` or `EngineDead`.
        Cancelling it takes the window out of the queue.

        Raises:
            EngineQueueFull: As many windows wait as may.
            EngineDead: A worker has died.
            Draining: The engine was stopped.
        """
        if self._dead is not None:
            raise EngineDead(self._dead)
        if self._stopping:
            raise Draining
        future: asyncio.Future[Float32] = self._loop.create_future()
        self._queue.put(Job(window, future, time.monotonic(), live))
        metrics.QUEUED_WINDOWS.set(len(self._queue))
        return future

    async def stop(self) -> None:
        """End the workers after their batches, fail what still waits, close the backends."""
        self._stopping = True
        self._fail(self._queue.close(), Draining())
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._threads.clear()
        for backend in self._backends:
            backend.close()

    def statistics(self) -> EngineStatistics:
        """Say what the engine did so far."""
        return EngineStatistics(
            queued_windows=len(self._queue),
            maximum_queued_windows=self._queue.maximum_length,
            windows_embedded=self._windows_embedded,
            batches=self._batches,
            failed_batches=self._failed_batches,
            dead=self._dead,
        )

    def _warm(self, backend: Backend, samples: int) -> None:
        noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * np.float32(
            0.1
        )
        window = Window(0, noise, np.arange(1 + (samples - 400) // 160), samples)
        for windows in (self._queue.most(window), 1):
            outcome = embed_windows(backend, [window] * windows, self._dim)[0]
            if isinstance(outcome, EngineFailed):
                raise EngineDead(str(outcome)) from outcome

    def _run_worker(self, backend: Backend) -> None:
        """Life of a worker thread."""
        jobs: list[Job] = []
        try:
            while jobs := self._queue.take():
                self._post(self._settle, jobs, *self._embed(backend, jobs))
        # The thread's edge: whatever ends it must reach everyone who waits, or they wait for ever.
        except BaseException as error:  # noqa: BLE001
            self._post(self._die, f"{type(error).__name__}: {error}", jobs)

    def _embed(self, backend: Backend, jobs: Sequence[Job]) -> tuple[list[Outcome], float]:
        started_s = time.monotonic()
        for job in jobs:
            metrics.QUEUE_SECONDS.observe(started_s - job.queued_at_s)
        outcomes = embed_windows(backend, [job.window for job in jobs], self._dim)
        return outcomes, time.monotonic() - started_s

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        """Continue on the event loop; a loop that is closed has nobody left who waits."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _settle(self, jobs: Sequence[Job], outcomes: Sequence[Outcome], compute_s: float) -> None:
        """Hand out one batch, on the event loop."""
        failed = sum(isinstance(outcome, EngineFailed) for outcome in outcomes)
        self._batches += 1
        self._failed_batches += failed > 0
        self._windows_embedded += len(jobs) - failed
        metrics.BATCH_WINDOWS.observe(len(jobs))
        metrics.COMPUTE_SECONDS.observe(compute_s)
        metrics.WINDOWS_EMBEDDED.inc(len(jobs) - failed)
        metrics.QUEUED_WINDOWS.set(len(self._queue))
        for job, outcome in zip(jobs, outcomes, strict=True):
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


def _leave(room: asyncio.Semaphore, _embedding: asyncio.Future[Float32]) -> None:
    room.release()
