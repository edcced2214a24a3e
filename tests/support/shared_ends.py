"""Both ends of the way between front ends and engines, each bare: a socket and shared memory."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import SpeakerdError
from speakerd_server.processes.arena import mapped, shared_file
from speakerd_server.processes.engine_port import EnginePort
from speakerd_server.processes.status_page import StatusPage
from speakerd_server.processes.windows_shared import (
    CANCEL,
    EMBEDDED,
    HELLO,
    RECORD,
    REFUSED,
    SUBMIT,
    Record,
    Slot,
    read_record,
)
from speakerd_server.values import Float32, Window
from support.batching import MODEL, running

NUMBER = 1
"""Of the one model."""
PATIENCE_S = 5.0
SLOT_BYTES = 1 << 16
"""From the slot of one job of a bare front end to the next."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    """Return once a condition is true that wakes nobody."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


@asynccontextmanager
async def ported(
    path: Path, *backends: FakeBackend, settings: EngineSettings | None = None
) -> AsyncIterator[EnginePort]:
    """An engine that listens, with one model of the NUMBER."""
    keys = {NUMBER: MODEL}
    async with running(*backends, settings=settings) as batcher:
        port = EnginePort(batcher, keys.__getitem__)
        port.listen(path)
        try:
            yield port
        finally:
            port.close()


def received(connection: socket.socket, size_bytes: int) -> bytes:
    """Read so many bytes; fewer where the connection ends before."""
    content = b""
    while len(content) < size_bytes and (more := connection.recv(size_bytes - len(content))):
        content += more
    return content


class BareFrontEnd:
    """Says to an engine whatever the test wants."""

    def __init__(self, path: Path, memory_bytes: int = 1 << 20) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE_S)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.descriptor = shared_file(memory_bytes)
        self.memory: NDArray[np.uint8] = np.frombuffer(mapped(self.descriptor), np.uint8)
        self._slots: dict[int, Slot] = {}

    async def greet(self) -> StatusPage:
        """Give the memory and get the status page."""
        socket.send_fds(self.socket, [HELLO], [self.descriptor])
        received = await asyncio.to_thread(socket.recv_fds, self.socket, len(HELLO), 1)
        content, (page,) = received[:2]
        assert content == HELLO
        status = StatusPage(page)
        os.close(page)
        return status

    def lay(self, job: int, window: Window) -> Record:
        """Write a window into the job's slot, and give the record that submits it."""
        samples, frames = window.pcm.size, window.rows.size
        self._slots[job] = Slot(self.memory, job * SLOT_BYTES, samples, frames)
        self._slots[job].write(window)
        return Record(SUBMIT, job, NUMBER, True, job * SLOT_BYTES, samples, frames)

    def say(self, *records: Record | bytes) -> None:
        """Send records, or any bytes."""
        self.socket.sendall(b"".join(r if isinstance(r, bytes) else r.packed() for r in records))

    def submit(self, job: int, window: Window) -> None:
        """Submit a window."""
        self.say(self.lay(job, window))

    def cancel(self, job: int) -> None:
        """Wait for a window no more."""
        self.say(Record(CANCEL, job))

    async def heard(self) -> tuple[Record, Float32 | SpeakerdError | None]:
        """Give the next answer, with its embedding or its error."""
        record = read_record(await self._read(RECORD.size), 0)
        if record.kind == REFUSED:
            return record, pickle.loads(await self._read(record.samples))
        if record.kind == EMBEDDED:
            return record, self._slots[record.job].embedding(record.samples)
        return record, None

    async def is_hung_up(self) -> bool:
        """Tell whether the engine has closed the connection, for which it has a while."""
        try:
            return not await asyncio.to_thread(self.socket.recv, 1)
        except ConnectionResetError:
            return True

    def close(self) -> None:
        """Hang up."""
        self.socket.close()
        os.close(self.descriptor)

    async def _read(self, size_bytes: int) -> bytes:
        return await asyncio.to_thread(received, self.socket, size_bytes)


class BareEngine:
    """Answers a front end whatever the test wants."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.page = StatusPage()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.settimeout(PATIENCE_S)
        self._listening.bind(str(path))
        self._listening.listen()
        self.socket: socket.socket | None = None

    async def accept(self) -> socket.socket:
        """Take a connection, say nothing yet."""
        self.hang_up()
        connection, _ = await asyncio.to_thread(self._listening.accept)
        connection.settimeout(PATIENCE_S)
        self.socket = connection
        return connection

    async def greet(self) -> None:
        """Take a front end."""
        connection = await self.accept()
        received = await asyncio.to_thread(socket.recv_fds, connection, len(HELLO), 1)
        content, (memory,) = received[:2]
        assert content == HELLO
        self.memory: NDArray[np.uint8] = np.frombuffer(mapped(memory), np.uint8)
        os.close(memory)
        socket.send_fds(connection, [HELLO], [self.page.descriptor])

    async def heard(self) -> Record:
        """Give the next record."""
        assert self.socket is not None
        return read_record(await asyncio.to_thread(received, self.socket, RECORD.size), 0)

    def slot(self, record: Record) -> Slot:
        """Give the slot that a front end has submitted."""
        return Slot(self.memory, record.offset, record.samples, record.frames)

    def embed(self, record: Record, embedding: Float32) -> None:
        """Answer with an embedding."""
        self.slot(record).write_embedding(embedding)
        self.say(Record(EMBEDDED, record.job, samples=embedding.size))

    def refuse(self, record: Record, error: object) -> None:
        """Answer with an error, or with what is none."""
        content = pickle.dumps(error)
        self.say(Record(REFUSED, record.job, samples=len(content)), content)

    def say(self, *records: Record | bytes) -> None:
        """Send records, or any bytes."""
        assert self.socket is not None
        self.socket.sendall(b"".join(r if isinstance(r, bytes) else r.packed() for r in records))

    def hang_up(self) -> None:
        """Let go of the front end."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def close(self) -> None:
        """Hang up and listen no more."""
        self.hang_up()
        if self._listening.fileno() != -1:
            self._listening.close()
            os.close(self.page.descriptor)
