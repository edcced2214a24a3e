"""The speech gate of one process: frames of all its calls, judged together on one thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from speakerd_server import metrics
from speakerd_server.errors import GateBusy, GateFailed, GateStopped, SpeakerdError
from speakerd_server.gate.frames import GateState
from speakerd_server.gate.network import BATCH_FRAMES
from speakerd_server.values import Float32

Judged = tuple[Float32, GateState]


class Network(Protocol):
    """What judges; see `GateNetwork`."""

    def encode(self, frames: Float32) -> Float32:
        """Give float32[n, 128] of float32[n, 576]."""

    def judge(self, features: Float32, state: GateState) -> tuple[Float32, GateState]:
        """Give float32[n] and the state after."""


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """What the gate has done since it was started."""

    frames: int
    """Judged."""
    batches: int
    """Computed."""
    waiting_frames: int
    """Not judged yet."""
    busy_s: float
    """Time spent computing."""


@dataclass(slots=True, eq=False)
class _Job:
    """Frames of one signal on their way."""

    frames: Float32
    state: GateState
    answer: asyncio.Future[Judged]
    loop: asyncio.AbstractEventLoop
    given: int = 0
    judged: list[Float32] = field(default_factory=list)
    failure: SpeakerdError | None = None


class SpeechGate:
    """Packs the frames that wait, of whatever calls, into batches of one fixed shape.

    Args:
        network: Used by the gate's thread alone.
        pending_frames: Frames that may wait; a submit that finds as many is refused.
    """

    def __init__(self, network: Network, pending_frames: int) -> None:
        self._network, self._limit = network, pending_frames
        self._jobs: deque[_Job] = deque(maxlen=pending_frames)
        self._changed = threading.Condition()
        self._waiting_frames = self._frames = self._batches = 0
        self._busy_s = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="speech-gate", daemon=True)
        self._thread.start()

    def submit(self, frames: Float32, state: GateState) -> asyncio.Future[Judged]:
        """See `Gate`; raises GateBusy and GateStopped at once, the future GateFailed as well."""
        loop = asyncio.get_running_loop()
        job = _Job(frames, state, loop.create_future(), loop)
        with self._changed:
            if self._stopping:
                raise GateStopped
            if self._waiting_frames >= self._limit:
                raise GateBusy(self._waiting_frames, self._limit)
            self._waiting_frames += len(frames)
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def statistics(self) -> GateStatistics:
        """Say what was done and what waits."""
        with self._changed:
            return GateStatistics(self._frames, self._batches, self._waiting_frames, self._busy_s)

    async def stop(self) -> None:
        """End the thread; what waits ends with GateStopped."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            begun_s = time.perf_counter()
            self._compute(batch)
            taken = sum(count for _, count in batch)
            with self._changed:
                self._frames += taken
                self._batches += 1
                self._busy_s += time.perf_counter() - begun_s
            metrics.GATE_FRAMES.inc(taken)
            for job, _ in batch:
                if job.failure is not None or job.given == len(job.frames):
                    _tell(job)
        with self._changed:
            left, self._waiting_frames = list(self._jobs), 0
            self._jobs.clear()
        for job in left:
            job.failure = GateStopped()
            _tell(job)

    def _next(self) -> list[tuple[_Job, int]] | None:
        """Wait for frames; give the jobs of the next batch with their counts, None at the end."""
        with self._changed:
            while not self._jobs and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            batch, room = [], BATCH_FRAMES
            while self._jobs and room:
                job = self._jobs[0]
                left = len(job.frames) - job.given
                if job.answer.cancelled() or job.failure is not None:
                    self._jobs.popleft()
                    self._waiting_frames -= left
                    continue
                count = min(left, room)
                batch.append((job, count))
                job.given += count
                room -= count
                self._waiting_frames -= count
                if count == left:
                    self._jobs.popleft()
            return batch

    def _compute(self, batch: Sequence[tuple[_Job, int]]) -> None:
        rows = [job.frames[job.given - count : job.given] for job, count in batch]
        try:
            features = self._network.encode(np.concatenate(rows))
        except Exception as error:  # noqa: BLE001 - the thread's edge: the callers are told
            for job, _ in batch:
                job.failure = GateFailed(str(error))
            return
        at = 0
        for job, count in batch:
            self._judge(job, features[at : at + count])
            at += count

    def _judge(self, job: _Job, features: Float32) -> None:
        try:
            probabilities, job.state = self._network.judge(features, job.state)
        except Exception as error:  # noqa: BLE001 - the thread's edge: the caller is told
            job.failure = GateFailed(str(error))
            return
        if not np.all((probabilities >= 0) & (probabilities <= 1)):
            job.failure = GateFailed("a probability is not between 0 and 1")
        job.judged.append(probabilities)


def _tell(job: _Job) -> None:
    def tell() -> None:
        if job.answer.cancelled():
            return
        if job.failure is None:
            job.answer.set_result((np.concatenate(job.judged), job.state))
        else:
            job.answer.set_exception(job.failure)

    try:
        job.loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop is closed: nobody waits
