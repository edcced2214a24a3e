"""The engine's end: takes the windows of front ends out of shared memory and into the batcher."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from speakerd_server.engine.batcher import Batcher
from speakerd_server.errors import Draining, SpeakerdError
from speakerd_server.processes.arena import mapped
from speakerd_server.processes.status_page import StatusPage
from speakerd_server.processes.windows_shared import (
    CANCEL,
    EMBEDDED,
    HELLO,
    RECORD,
    REFUSED,
    RELEASED,
    SUBMIT,
    Record,
    Slot,
    read_record,
)
from speakerd_server.values import Float32

_log = logging.getLogger(__name__)

_PATIENCE_S = 5.0
_TELL_S = 0.05


class EnginePort:
    """Listens for front ends and serves each until it is gone.

    Args:
        batcher: Embeds.
        key_of: Gives the batcher's key of a model's number; raises KeyError.
    """

    def __init__(self, batcher: Batcher, key_of: Callable[[int], str]) -> None:
        self.batcher, self.key_of = batcher, key_of
        self.windows = 0
        """Windows of all front ends that wait or are computed."""
        self._status = StatusPage()
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connected: set[asyncio.WriteTransport] = set()
        """Of the front ends that are there."""

    def listen(self, path: Path) -> None:
        """Take front ends at a socket file."""
        path.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(path))
        self._listening.listen(64)
        self._listening.setblocking(False)
        self._begin(self._accept(self._listening))
        self._begin(self._tell())

    def tell_status(self) -> None:
        """Write the status page anew."""
        is_away = self.batcher.away is not None
        self._status.write(self.windows, self.batcher.waited_s(), is_away)

    def close(self) -> None:
        """Take no more front ends and hang up on those that are there."""
        for task in self._tasks:
            task.cancel()
        if self._listening is not None:
            self._listening.close()
        for transport in self.connected:
            transport.abort()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:
                _log.error("front end not taken", extra={"cause": str(error)})
                await asyncio.sleep(_TELL_S)
                continue
            self._begin(self._greet(connection))

    async def _greet(self, connection: socket.socket) -> None:
        try:
            memory = await asyncio.to_thread(self._exchange, connection)
        except (OSError, ValueError):
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(partial(_FrontEnd, self, memory), connection)

    def _exchange(self, connection: socket.socket) -> NDArray[np.uint8]:
        """Get the front end's memory and give it the status page."""
        connection.settimeout(_PATIENCE_S)
        content, descriptors, _, _ = socket.recv_fds(connection, len(HELLO), 1)
        try:
            if content != HELLO or len(descriptors) != 1:
                raise ValueError("no front end of this daemon")
            memory = np.frombuffer(mapped(descriptors[0]), np.uint8)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        socket.send_fds(connection, [HELLO], [self._status.descriptor])
        return memory

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_TELL_S)
            self.tell_status()


class _FrontEnd(asyncio.Protocol):
    """One front end that is connected."""

    def __init__(self, port: EnginePort, memory: NDArray[np.uint8]) -> None:
        self._port, self._memory = port, memory
        self._received = bytearray()
        self._out: dict[int, tuple[asyncio.Future[Float32], Slot]] = {}
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._port.connected.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a front end; what of its windows is computed goes nowhere."""
        if self._transport is not None:
            self._port.connected.discard(self._transport)
        self._transport = None
        for future, _ in list(self._out.values()):
            future.cancel()

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        whole_bytes = len(received) - len(received) % RECORD.size
        try:
            for at in range(0, whole_bytes, RECORD.size):
                self._obey(read_record(received, at))
        except ValueError as error:
            _log.error("front end unreadable", extra={"cause": str(error)})
            if self._transport is not None:
                self._transport.abort()
        del received[:whole_bytes]

    def _obey(self, record: Record) -> None:
        if record.kind == SUBMIT and record.job not in self._out:
            self._submit(record)
        elif record.kind == CANCEL:
            self._cancel(record.job)
        else:
            raise ValueError(f"{record} is nothing that a front end says")

    def _submit(self, record: Record) -> None:
        port = self._port
        slot = Slot(self._memory, record.offset, record.samples, record.frames)
        try:
            future = port.batcher.submit(
                port.key_of(record.model), slot.window(), live=record.live, taken=slot.take
            )
        except KeyError:
            self._refuse(record.job, Draining())
            return
        except SpeakerdError as error:
            self._refuse(record.job, error)
            return
        self._out[record.job] = future, slot
        port.windows += 1
        port.tell_status()
        future.add_done_callback(partial(self._done, record.job))

    def _cancel(self, job: int) -> None:
        """Take a window back, unless a worker has it: then it is answered."""
        if job in self._out:
            self._port.batcher.withdraw(self._out[job][0])

    def _done(self, job: int, future: asyncio.Future[Float32]) -> None:
        _, slot = self._out.pop(job)
        self._port.windows -= 1
        self._port.tell_status()
        if future.cancelled():
            self._write(Record(RELEASED, job))
            return
        error = future.exception()
        if isinstance(error, SpeakerdError):
            self._refuse(job, error)
            return
        embedding = future.result()
        slot.write_embedding(embedding)
        self._write(Record(EMBEDDED, job, samples=embedding.size))

    def _refuse(self, job: int, error: SpeakerdError) -> None:
        content = pickle.dumps(error, pickle.HIGHEST_PROTOCOL)
        self._write(Record(REFUSED, job, samples=len(content)), content)

    def _write(self, record: Record, content: bytes = b"") -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(record.packed() + content)
