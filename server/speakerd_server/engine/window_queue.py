"""The bounded queue between the calls and the workers, and who takes which windows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from speakerd_server.engine.rate import ArrivalRate
from speakerd_server.errors import EngineQueueFull
from speakerd_server.values import Float32, Window

Taken = Callable[[float, int], None]
"""Told when a batch is about to be computed: time.monotonic(), and the windows in it."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What may go into one batch of a model."""

    windows: int
    """At most so many windows."""
    frames: int
    """At most so many frames in all, except that one window always may."""
    fixed_s: float = 0.0
    """Seconds that a batch costs besides its windows: the longest wait for company."""
    shared: bool = True
    """Whether workers compute side by side, so that what waits is better split among them."""

    def most(self, frames: int) -> int:
        """Give how many windows of so many frames fit in a batch, at least 1."""
        return max(1, min(self.windows, self.frames // frames))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One window and who waits for its embedding."""

    model: str
    """Key of the model that embeds it."""
    window: Window
    """What to embed."""
    future: asyncio.Future[Float32]
    """Settled on the event loop only; cancelled means that nobody waits any more."""
    queued_at_s: float
    """time.monotonic() when it came."""
    live: bool = True
    """Goes before every window that is not: somebody is on the line."""
    taken: Taken | None = None
    """Called by the worker that takes it, before it computes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows of one model and one length, for one worker."""

    model: str
    """Key of the model."""
    jobs: list[Job]
    """Live ones first, each kind oldest first; at least one."""
    alone: bool
    """Nothing else is at work or waits: every processor is free for it."""
    is_long: bool
    """A single window longer than a batch: at most all workers but one compute such."""


@dataclass(slots=True, eq=False)
class _Line:
    """What waits of one model and one length."""

    model: str
    frames: int
    live: deque[Job]
    offline: deque[Job]

    def __len__(self) -> int:
        return len(self.live) + len(self.offline)

    def jobs(self) -> Iterator[Job]:
        yield from self.live
        yield from self.offline

    def drop_cancelled(self) -> None:
        for jobs in (self.live, self.offline):
            if any(job.future.cancelled() for job in jobs):
                kept = [job for job in jobs if not job.future.cancelled()]
                jobs.clear()
                jobs.extend(kept)

    def oldest(self) -> tuple[bool, float]:
        """Order among lines: live before offline, then the oldest first."""
        first = self.live[0] if self.live else self.offline[0]
        return not self.live, first.queued_at_s

    def pop(self, count: int) -> list[Job]:
        return [self.live.popleft() if self.live else self.offline.popleft() for _ in range(count)]


class WindowQueue:
    """Live windows first, each kind first in, first out; a batch takes windows of one length.

    Args:
        capacity: Windows that may wait, of all models together.
        workers: Threads that call `take`.
        maximum_wait_s: Longest that a window may wait for company while a worker is free.
    """

    def __init__(self, capacity: int, workers: int = 1, maximum_wait_s: float = 0.0) -> None:
        self._capacity, self._workers = capacity, workers
        self._maximum_wait_s = maximum_wait_s
        self._limits: dict[str, BatchLimits] = {}
        self._lines: dict[tuple[str, int], _Line] = {}
        self._length = self._maximum_length = 0
        self._changed = threading.Condition()
        self._busy: Counter[str] = Counter()
        self._busy_with_long = self._removing = 0
        self._closed = False
        self._rate = ArrivalRate()

    def __len__(self) -> int:
        return self._length

    @property
    def maximum_length(self) -> int:
        """Most windows that ever waited."""
        return self._maximum_length

    def set_limits(self, model: str, limits: BatchLimits) -> None:
        """Say what a batch of a model may hold; before its first window."""
        with self._changed:
            self._limits[model] = limits

    def put(self, job: Job) -> None:
        """Add a job without blocking.

        Raises:
            EngineQueueFull: As many windows wait as may.
        """
        with self._changed:
            if self._length >= self._capacity:
                self._drop_cancelled()
            if self._length >= self._capacity:
                raise EngineQueueFull(self._capacity)
            key = job.model, job.window.rows.size
            line = self._lines.get(key)
            if line is None:
                kinds = (deque[Job](maxlen=self._capacity) for _ in range(2))
                line = self._lines[key] = _Line(*key, *kinds)
            (line.live if job.live else line.offline).append(job)
            self._length += 1
            self._maximum_length = max(self._maximum_length, self._length)
            self._rate.count(job.queued_at_s)
            self._wake_a_worker()

    def withdraw(self, future: asyncio.Future[Float32]) -> bool:
        """Cancel the future of a job that waits; False: a worker has it, or it is over."""
        with self._changed:
            every = (job for line in self._lines.values() for job in line.jobs())
            return any(job.future is future for job in every) and future.cancel()

    def take(self, finished: Batch | None = None) -> Batch | None:
        """Block until there is a batch and take it; None when the queue was closed.

        Args:
            finished: What the same worker took before, now computed.
        """
        with self._changed:
            if finished is not None:
                self._finish(finished)
            while not self._closed:
                line = self._next()
                wait_s = None if line is None else self._wait_s(line)
                if line is not None and wait_s == 0.0:
                    return self._take_from(line)
                self._changed.wait(wait_s)
            return None

    def close(self) -> list[Job]:
        """Wake all workers for good and give what was still waiting."""
        with self._changed:
            self._closed = True
            return self._empty(list(self._lines))

    def remove(self, model: str) -> None:
        """Block until no worker computes for a model, and forget it; nobody waits for it any more.

        A worker computes from one `take` to its next.
        """
        with self._changed:
            self._empty([key for key in self._lines if key[0] == model])
            self._removing += 1
            while self._busy[model] and not self._closed:
                self._changed.wait()
            self._removing -= 1
            self._limits.pop(model, None)
            del self._busy[model]

    def length_of(self, model: str) -> int:
        """Give how many windows of a model wait."""
        with self._changed:
            return sum(len(line) for (name, _), line in self._lines.items() if name == model)

    def waited_s(self) -> float:
        """Give how long the oldest live window has waited; 0 when none does."""
        with self._changed:
            since = [line.live[0].queued_at_s for line in self._lines.values() if line.live]
            return max(0.0, time.monotonic() - min(since)) if since else 0.0

    def _finish(self, batch: Batch) -> None:
        self._busy[batch.model] -= 1
        self._busy_with_long -= batch.is_long
        if batch.is_long or self._removing:
            self._changed.notify_all()

    def _empty(self, keys: list[tuple[str, int]]) -> list[Job]:
        left = [job for key in keys for job in self._lines.pop(key).jobs()]
        self._length -= len(left)
        if self._closed:
            self._changed.notify_all()
        return left

    def _next(self) -> _Line | None:
        """Find the line whose turn it is; cancelled windows and empty lines go."""
        self._drop_cancelled()
        free = max(1, self._workers - 1)
        lines = [
            line
            for line in self._lines.values()
            if not (self._is_long(line) and self._busy_with_long >= free)
        ]
        return min(lines, key=_Line.oldest, default=None)

    def _is_long(self, line: _Line) -> bool:
        return line.frames > self._limits[line.model].frames

    def _wait_s(self, line: _Line) -> float:
        """Tell how long a worker should wait for company now.

        Waiting at most as long as a batch costs besides its windows loses no more than it may
        save, and is worth it when another window can be expected meanwhile.
        """
        limits = self._limits[line.model]
        longest_s = min(limits.fixed_s, self._maximum_wait_s)
        if len(line) >= limits.most(line.frames) or longest_s * self._rate.per_s < 1.0:
            return 0.0
        _, since_s = line.oldest()
        return max(0.0, since_s + longest_s - time.monotonic())

    def _take_from(self, line: _Line) -> Batch:
        """Take the oldest windows of a line, leaving their share to the other workers."""
        limits, waiting = self._limits[line.model], len(line)
        share = -(-waiting // self._workers) if limits.shared else waiting
        jobs = line.pop(min(share, limits.most(line.frames)))
        self._length -= len(jobs)
        if not line:
            del self._lines[line.model, line.frames]
        alone = not self._busy.total() and not self._length and len(jobs) == 1
        batch = Batch(line.model, jobs, alone, self._is_long(line))
        self._busy[line.model] += 1
        self._busy_with_long += batch.is_long
        if self._length:
            self._wake_a_worker()
        return batch

    def _wake_a_worker(self) -> None:
        self._changed.notify(1 + self._removing)  # those that remove wait for the same

    def _drop_cancelled(self) -> None:
        for key, line in list(self._lines.items()):
            before = len(line)
            line.drop_cancelled()
            self._length -= before - len(line)
            if not line:
                del self._lines[key]
