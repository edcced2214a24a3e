"""The process that has the store: SQLite, FAISS, and nothing else."""

from __future__ import annotations

from typing import Any

from speakerd_server.calls.enrolments import LocalEnrolments
from speakerd_server.processes.entry import Ask
from speakerd_server.processes.messages import Begin
from speakerd_server.processes.store_port import StorePort
from speakerd_server.store.enrolment import EnrolmentStore


class StoreProcess:
    """Opens the store and serves it."""

    def __init__(self, _ask: Ask) -> None:
        self._enrolments: LocalEnrolments | None = None
        self._port: StorePort | None = None

    async def begin(self, begin: Begin) -> None:
        """Open the store and listen; raises StoreUnusable and StoreCorrupt."""
        settings = begin.settings
        store = EnrolmentStore(settings.store, settings.calls.domains, settings.expiry)
        self._enrolments = LocalEnrolments(store, settings.calls.pending_store_changes)
        self._port = StorePort(self._enrolments)
        await self._port.listen(begin.whereabouts.store)

    async def answer(self, question: Any) -> Any:
        """Refuse: nothing else is asked of it."""
        raise ValueError(f"a store cannot answer {type(question).__name__}")

    async def close(self) -> None:
        """Finish the changes that were begun and close the file."""
        if self._port is not None:
            await self._port.close()
        if self._enrolments is not None:
            await self._enrolments.close()
