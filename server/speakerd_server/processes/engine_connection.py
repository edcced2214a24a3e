"""A front end's connection to one engine process, made again whenever it is lost."""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from speakerd_server.engine.window_queue import Taken
from speakerd_server.errors import (
    EngineLost,
    EngineQueueFull,
    RemoteEngineUnavailable,
    SpeakerdError,
)
from speakerd_server.processes.arena import Allocator, mapped, rounded, shared_file
from speakerd_server.processes.engine_answers import EngineAnswers
from speakerd_server.processes.status_page import StatusPage
from speakerd_server.processes.windows_shared import (
    CANCEL,
    EMBEDDED,
    HELLO,
    MOST_VALUES,
    REFUSED,
    RELEASED,
    SUBMIT,
    Record,
    Slot,
    slot_bytes,
)
from speakerd_server.values import Float32, Window

_PATIENCE_S = 5.0
_AGAIN_S = 0.05
USUAL_SAMPLES, USUAL_FRAMES = 32240, 198
"""Of the windows that the memory has room for `queue_windows` of."""


@dataclass(slots=True, eq=False)
class Job:
    """One window on its way to an engine and back."""

    model: int
    """Number of its model."""
    window: Window
    """What to embed."""
    live: bool
    """Whether somebody is on the line."""
    future: asyncio.Future[Float32]
    """Who waits."""
    taken: Taken | None = None
    """Told, with its embedding, when its batch was begun."""
    offset: int = 0
    """Of its slot."""
    slot: Slot | None = field(default=None)
    """Where it lies."""
    given_to: str = ""
    """Name of the engine that has it, or had it last."""
    is_second: bool = False
    """Whether another engine has failed on it, being away."""

    @property
    def size_bytes(self) -> int:
        """Size of its slot."""
        return slot_bytes(self.window.pcm.size, self.window.rows.size)


class EngineConnection:
    """One engine process, whether it is there now or not.

    Args:
        name: Of the engine, such as "gpu:0".
        path: Socket file where it listens.
        queue_windows: Windows of this front end that it may have.
        on_up: Called when it can be given windows.
        on_orphans: Given the windows that a lost engine had and never began to compute.
        on_away: Given a window that the engine's device, elsewhere, did not embed, and why; None:
            its caller is told.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        queue_windows: int,
        on_up: Callable[[], None],
        on_orphans: Callable[[list[Job]], None],
        on_away: Callable[[Job, RemoteEngineUnavailable], None] | None = None,
    ) -> None:
        self.name, self._path, self._limit = name, path, queue_windows
        self._on_up, self._on_orphans, self._on_away = on_up, on_orphans, on_away
        usual_bytes = rounded(slot_bytes(USUAL_SAMPLES, USUAL_FRAMES))
        self._size_bytes = max(queue_windows * usual_bytes, 64 << 20)
        self._descriptor = shared_file(self._size_bytes)
        self._memory = np.frombuffer(mapped(self._descriptor), np.uint8)
        self._allocator = Allocator(self._size_bytes)
        self._jobs: dict[int, Job] = {}
        self._numbers = itertools.count()
        self._transport: asyncio.WriteTransport | None = None
        self._status: StatusPage | None = None
        self._lost_at_s = time.monotonic()
        self._connecting: asyncio.Task[None] | None = None
        self._closed = False

    def open(self) -> None:
        """Begin to connect, and go on until it is there."""
        self._connecting = asyncio.create_task(self._connect())

    async def close(self) -> None:
        """Let go of the engine."""
        self._closed = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._transport is not None:
            self._transport.abort()
        os.close(self._descriptor)

    @property
    def is_up(self) -> bool:
        """Whether it can be given windows now."""
        return self._transport is not None

    @property
    def is_away(self) -> bool:
        """Whether its device is away: what it is given fails at once."""
        return self._status is not None and self._status.is_away

    @property
    def windows(self) -> int:
        """Windows that it has, of all front ends."""
        told = self._status.windows if self._status is not None else 0
        return max(told, len(self._jobs))

    @property
    def waited_s(self) -> float:
        """Seconds that its first live window in line has waited, or that it is not there."""
        if self._transport is None or self._status is None:
            return time.monotonic() - self._lost_at_s
        return self._status.waited_s

    def submit(self, job: Job) -> None:
        """Give it a window. Raises EngineQueueFull where there is no room for it."""
        offset = None
        if len(self._jobs) < self._limit:
            offset = self._allocator.take(job.size_bytes)
        if offset is None:
            raise EngineQueueFull(self._limit)
        window, number = job.window, next(self._numbers)
        slot = Slot(self._memory, offset, window.pcm.size, window.rows.size)
        slot.write(window)
        job.offset, job.slot, job.given_to = offset, slot, self.name
        self._jobs[number] = job
        samples, frames = window.pcm.size, window.rows.size
        self._write(Record(SUBMIT, number, job.model, job.live, offset, samples, frames))
        job.future.add_done_callback(lambda _: self._given_up(number))

    def _given_up(self, number: int) -> None:
        """Tell the engine that nobody waits any more; its slot is free once it has answered."""
        if number in self._jobs:
            self._write(Record(CANCEL, number))

    def _write(self, record: Record) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(record.packed())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, self._status = await self._greeted()
                await loop.create_unix_connection(lambda: EngineAnswers(self), sock=connection)
            except (OSError, ValueError):
                await asyncio.sleep(_AGAIN_S)
                continue
            return

    async def _greeted(self) -> tuple[socket.socket, StatusPage]:
        """Greet on a thread, which cannot be stopped: who comes too late is let go of."""
        greeting = asyncio.create_task(asyncio.to_thread(self._greet))
        try:
            return await asyncio.shield(greeting)
        except asyncio.CancelledError:
            greeting.add_done_callback(_let_go)
            raise

    def _greet(self) -> tuple[socket.socket, StatusPage]:
        """Give the memory and get the status page."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_PATIENCE_S)
            connection.connect(str(self._path))
            socket.send_fds(connection, [HELLO], [self._descriptor])
            content, descriptors, _, _ = socket.recv_fds(connection, len(HELLO), 1)
            try:
                if content != HELLO or len(descriptors) != 1 or self._closed:
                    raise ValueError("no engine of this daemon")
                status = StatusPage(descriptors[0])
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        return connection, status

    def up(self, transport: asyncio.WriteTransport) -> None:
        """Take the connection into use."""
        self._transport = transport
        self._on_up()

    def down(self) -> None:
        """Fail what was being computed, hand back the rest, and connect again."""
        self._transport, self._status, self._lost_at_s = None, None, time.monotonic()
        jobs, self._jobs = list(self._jobs.values()), {}
        self._allocator = Allocator(self._size_bytes)
        if not self._closed:
            self.open()
        orphans = []
        for job in jobs:
            if job.future.done():
                continue
            if self._closed or (job.slot is not None and job.slot.taken):
                job.future.set_exception(EngineLost(self.name))
            else:
                orphans.append(job)
        self._on_orphans(orphans)

    def answered(self, record: Record, content: bytes) -> None:
        """Hand out what the engine answered; one to a window that it does not have is ignored.

        Raises ValueError, or anything else, where the answer cannot be read.
        """
        job = self._jobs.get(record.job)
        if job is None or job.slot is None:
            return
        outcome = self._outcome(record, job.slot, content)
        if record.kind == EMBEDDED and job.taken is not None:
            job.taken(*job.slot.taken_in)
        del self._jobs[record.job]
        self._allocator.give_back(job.offset, job.size_bytes)
        if job.future.done():
            return
        if isinstance(outcome, RemoteEngineUnavailable) and self._on_away is not None:
            self._on_away(job, outcome)
        elif isinstance(outcome, SpeakerdError):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    def _outcome(self, record: Record, slot: Slot, content: bytes) -> Float32 | SpeakerdError:
        if record.kind == EMBEDDED and 0 < record.samples <= MOST_VALUES:
            return slot.embedding(record.samples)
        if record.kind == REFUSED:
            error = pickle.loads(content)
            if isinstance(error, SpeakerdError):
                return error
        elif record.kind == RELEASED:
            return EngineLost(self.name)
        raise ValueError(f"{record} is nothing that an engine answers")


def _let_go(greeting: asyncio.Task[tuple[socket.socket, StatusPage]]) -> None:
    if not greeting.cancelled() and greeting.exception() is None:
        greeting.result()[0].close()
