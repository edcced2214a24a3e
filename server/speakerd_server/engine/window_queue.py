"""The bounded queue between the calls and the workers, and who takes which windows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass

from speakerd_server.errors import EngineQueueFull
from speakerd_server.values import Float32, Window


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One window and who waits for its embedding."""

    window: Window
    """What to embed."""
    future: asyncio.Future[Float32]
    """Settled on the event loop only; cancelled means that nobody waits any more."""
    queued_at_s: float
    """time.monotonic() when it came."""
    live: bool = True
    """Goes before every window that is not: somebody is on the line."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What may go into one batch."""

    windows: int
    """At most so many windows."""
    frames: int
    """At most so many frames in all, except that one window always may."""
    wait_s: float
    """How long the oldest window waits for company."""


class WindowQueue:
    """Live windows first, each kind first in, first out; a batch takes windows of one length.

    Args:
        capacity: Windows that may wait.
        limits: For each batch.
    """

    def __init__(self, capacity: int, limits: BatchLimits) -> None:
        self._capacity, self._limits = capacity, limits
        self._jobs: deque[Job] = deque(maxlen=capacity)
        self._changed = threading.Condition()
        self._waiting_workers = 0
        self._closed = False
        self._maximum_length = 0

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def maximum_length(self) -> int:
        """Most windows that ever waited."""
        return self._maximum_length

    def put(self, job: Job) -> None:
        """Add a job without blocking.

        Raises:
            EngineQueueFull: As many windows wait as may.
        """
        with self._changed:
            if len(self._jobs) == self._capacity:
                self._drop_cancelled()
            if len(self._jobs) == self._capacity:
                raise EngineQueueFull(self._capacity)
            self._jobs.insert(self._live() if job.live else len(self._jobs), job)
            self._maximum_length = max(self._maximum_length, len(self._jobs))
            self._changed.notify()

    def take(self) -> list[Job]:
        """Block until there is a batch and take it; empty when the queue was closed."""
        with self._changed:
            while not self._closed:
                self._drop_cancelled()
                wait_s = self._wait_s()
                if wait_s == 0.0:
                    return self._take_batch()
                self._waiting_workers += 1
                self._changed.wait(wait_s)
                self._waiting_workers -= 1
            return []

    def close(self) -> list[Job]:
        """Wake all workers for good and give what was still waiting."""
        with self._changed:
            self._closed = True
            left = list(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()
            return left

    def waited_s(self) -> float:
        """Give how long the first live window in line has waited; 0 when none does."""
        with self._changed:
            first = self._jobs[0] if self._jobs else None
            if first is None or not first.live:
                return 0.0
            return time.monotonic() - first.queued_at_s

    def _live(self) -> int:
        """Count the live windows, which stand before the others."""
        return next((n for n, job in enumerate(self._jobs) if not job.live), len(self._jobs))

    def _wait_s(self) -> float | None:
        """How long a worker should wait now; None: until something comes."""
        if not self._jobs:
            return None
        oldest = self._jobs[0]
        if len(self._alike(oldest)) >= self.most(oldest.window):
            return 0.0
        return max(0.0, oldest.queued_at_s + self._limits.wait_s - time.monotonic())

    def _take_batch(self) -> list[Job]:
        """Take the oldest windows of one length, leaving their share to other free workers."""
        alike = self._alike(self._jobs[0])
        share = -(-len(alike) // (1 + self._waiting_workers))
        batch = alike[: min(share, self.most(alike[0].window))]
        taken = {id(job) for job in batch}
        kept = [job for job in self._jobs if id(job) not in taken]
        self._jobs.clear()
        self._jobs.extend(kept)
        if kept:
            self._changed.notify()
        return batch

    def _alike(self, oldest: Job) -> list[Job]:
        frames = oldest.window.rows.size
        return [job for job in self._jobs if job.window.rows.size == frames]

    def most(self, window: Window) -> int:
        """Give how many windows of this length fit in a batch, at least 1."""
        return max(1, min(self._limits.windows, self._limits.frames // window.rows.size))

    def _drop_cancelled(self) -> None:
        if any(job.future.cancelled() for job in self._jobs):
            kept = [job for job in self._jobs if not job.future.cancelled()]
            self._jobs.clear()
            self._jobs.extend(kept)
