"""A real store behind its socket, and the processes that ask it, all in this one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.enrolled import Speaker, Voiceprint
from speakerd_server.processes.link import Handler, Link
from speakerd_server.processes.remote_store import RemoteEnrolments
from speakerd_server.processes.store_port import Forget, StorePort
from speakerd_server.store.enrolment import EnrolmentStore
from speakerd_server.store.open_store import StoreSettings
from speakerd_server.values import ModelIdentity
from support.recordings import DOMAIN

PENDING = 8


class Watched(LocalEnrolments):
    """Counts what it is asked; changes and voiceprints can be held, and a deletion made to fail."""

    def __init__(self, store: EnrolmentStore) -> None:
        super().__init__(store, PENDING)
        self.voiceprints_asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.failure: Exception | None = None

    async def voiceprint(
        self, domain: str, speaker_id: str, model: ModelIdentity
    ) -> Voiceprint | None:
        """Count it, and answer what is true before the gate is open."""
        self.voiceprints_asked += 1
        return await super().voiceprint(domain, speaker_id, model)

    async def delete(self, domain: str, speaker_id: str) -> int:
        """Wait at the gate, delete, and fail where a failure is set."""
        self.begun.set()
        await self.gate.wait()
        deleted = await super().delete(domain, speaker_id)
        if self.failure is not None:
            raise self.failure
        return deleted

    async def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """Wait at the gate."""
        await self.gate.wait()
        return await super().speaker(domain, speaker_id)


@asynccontextmanager
async def served_store(folder: Path) -> AsyncIterator[tuple[Watched, Path]]:
    """A store that listens, and its socket file."""
    path = folder / "store"
    settings = StoreSettings(folder / "speakerd.db")
    enrolments = Watched(await asyncio.to_thread(EnrolmentStore, settings, [DOMAIN]))
    port = StorePort(enrolments)
    await port.listen(path)
    try:
        yield enrolments, path
    finally:
        enrolments.gate.set()
        await port.close()
        await enrolments.close()


@asynccontextmanager
async def asking(path: Path, pending: int = PENDING) -> AsyncIterator[RemoteEnrolments]:
    """A process that asks the store."""
    remote = RemoteEnrolments(path, pending)
    remote.open()
    try:
        yield remote
    finally:
        await remote.close()


async def linked(path: Path, handler: Handler) -> Link:
    """A process that asks the store and answers as the test says."""
    reader, writer = await asyncio.open_unix_connection(path)
    return Link(reader, writer, handler)


class Hearing:
    """Takes note of what is to be forgotten, once its gate is open."""

    def __init__(self) -> None:
        self.heard: list[Forget] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.told = asyncio.Event()

    async def __call__(self, question: Any) -> None:
        self.told.set()
        await self.gate.wait()
        self.heard.append(question)
