"""The enrolment store as calls use it: nothing here waits on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from speakerd_server.enrolled import Group, NewRecording, Speaker, Voiceprint
from speakerd_server.errors import StoreBusy
from speakerd_server.store.answers import Enrolled, OptedOut, SearchResult
from speakerd_server.values import ModelIdentity, SpeakerState

if TYPE_CHECKING:
    from speakerd_server.store.enrolment import EnrolmentStore

T = TypeVar("T")


class Enrolments(Protocol):
    """Who is enrolled, in this process or in another; methods and errors are EnrolmentStore's.

    All raise StoreUnavailable as well when the process that has the store is not there, a change
    StoreInterrupted when it ends meanwhile, and those that wait for the disk StoreBusy. A change is
    answered once every process sees it.
    """

    async def voiceprint(
        self, domain: str, speaker_id: str, model: ModelIdentity
    ) -> Voiceprint | None:
        """Give a speaker's voiceprint; None: there is none. Raises ModelMismatch."""

    async def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """Give where a speaker stands; None: unknown."""

    async def is_anyone(self, domain: str, model: ModelIdentity, group: str | None = None) -> bool:
        """Tell whether a search would compare with anyone; raises GroupUnknown."""

    async def check_group(self, domain: str, group: str) -> None:
        """Raise GroupUnknown unless the domain has this group."""

    async def count(self) -> int:
        """Give the number of speakers in the domains of the settings."""

    async def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """Give the top_k speakers enrolled with this model most alike to a float[dim].

        With a group, among its members; raises GroupUnknown.
        """

    async def enrol(
        self,
        domain: str,
        speaker_id: str,
        recording: NewRecording,
        display_name: str | None,
        group: str | None = None,
        consent_unix_s: float | None = None,
    ) -> Enrolled:
        """Add a recording to a speaker, and the speaker to a group; returns once it is on disk."""

    async def update(
        self,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        remove_recording_ids: Sequence[str],
        consent_unix_s: float | None = None,
    ) -> Speaker:
        """Rename a speaker, erase recordings, set the time of consent; None: leave it."""

    async def used(self, domain: str, speaker_id: str) -> None:
        """Note that a verification has just accepted a speaker, to the hour."""

    async def delete(self, domain: str, speaker_id: str) -> int:
        """Erase a speaker; give the number of recordings erased."""

    async def opt_out(self, domain: str, speaker_id: str) -> OptedOut:
        """Erase a speaker's recordings and name, and enrol nobody by this id until `allow`."""

    async def allow(self, domain: str, speaker_id: str) -> Speaker:
        """Lift an opt-out."""

    async def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """Give one speaker with all recordings; raises SpeakerUnknown."""

    async def speakers(self, domain: str, after: str | None, limit: int) -> list[Speaker]:
        """Give at most `limit` speakers with an id beyond `after`, in code point order."""

    async def create_group(self, domain: str, name: str) -> Group:
        """Make an empty group."""

    async def update_group(
        self, domain: str, name: str, added: Collection[str], removed: Collection[str]
    ) -> Group:
        """Add speakers to a group and remove members."""

    async def delete_group(self, domain: str, name: str) -> int:
        """Remove a group, whose members stay enrolled; give their number."""

    async def group(self, domain: str, name: str) -> Group:
        """Give one group with its members; raises GroupUnknown."""

    async def groups(self, domain: str, after: str | None, limit: int) -> Sequence[Group]:
        """Give at most `limit` groups with a name beyond `after`, in code point order."""

    async def close(self) -> None:
        """Finish the changes that were begun and let go of the store."""


class LocalEnrolments:
    """The store in this process: memory at once, the disk on threads of its own.

    Args:
        store: Closed by `close`.
        pending: Changes, or reads, that may wait for the disk.
    """

    def __init__(self, store: EnrolmentStore, pending: int) -> None:
        self._store, self._limit = store, pending
        self._pending_changes = self._pending_reads = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        # Live calls wait for searches, so these are never behind the disk; at most one for each
        # open call is out.
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="store-search")

    async def voiceprint(
        self, domain: str, speaker_id: str, model: ModelIdentity
    ) -> Voiceprint | None:
        """See Enrolments."""
        return self._store.voiceprint(domain, speaker_id, model)

    async def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """See Enrolments."""
        return self._store.state(domain, speaker_id)

    async def is_anyone(self, domain: str, model: ModelIdentity, group: str | None = None) -> bool:
        """See Enrolments."""
        # What has expired by now is taken out of the index first, which waits for a search.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._searcher, self._store.is_anyone, domain, model, group
        )

    async def check_group(self, domain: str, group: str) -> None:
        """See Enrolments."""
        self._store.check_group(domain, group)

    async def count(self) -> int:
        """See Enrolments."""
        return self._store.count()

    async def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """See Enrolments."""
        arguments = (domain, model, embedding, top_k, group)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._searcher, self._store.search, *arguments)

    async def enrol(
        self,
        domain: str,
        speaker_id: str,
        recording: NewRecording,
        display_name: str | None,
        group: str | None = None,
        consent_unix_s: float | None = None,
    ) -> Enrolled:
        """See Enrolments."""
        arguments = (domain, speaker_id, recording, display_name, group, consent_unix_s)
        return await self._change(lambda: self._store.enrol(*arguments))

    async def update(
        self,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        remove_recording_ids: Sequence[str],
        consent_unix_s: float | None = None,
    ) -> Speaker:
        """See Enrolments."""
        arguments = (domain, speaker_id, display_name, remove_recording_ids, consent_unix_s)
        return await self._change(lambda: self._store.update(*arguments))

    async def used(self, domain: str, speaker_id: str) -> None:
        """See Enrolments."""
        await self._change(lambda: self._store.used(domain, speaker_id))

    async def delete(self, domain: str, speaker_id: str) -> int:
        """See Enrolments."""
        return await self._change(lambda: self._store.delete(domain, speaker_id))

    async def opt_out(self, domain: str, speaker_id: str) -> OptedOut:
        """See Enrolments."""
        return await self._change(lambda: self._store.opt_out(domain, speaker_id))

    async def allow(self, domain: str, speaker_id: str) -> Speaker:
        """See Enrolments."""
        return await self._change(lambda: self._store.allow(domain, speaker_id))

    async def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """See Enrolments."""
        return await self._read(lambda: self._store.speaker(domain, speaker_id))

    async def speakers(self, domain: str, after: str | None, limit: int) -> list[Speaker]:
        """See Enrolments."""
        return await self._read(lambda: self._store.speakers(domain, after, limit))

    async def create_group(self, domain: str, name: str) -> Group:
        """See Enrolments."""
        return await self._change(lambda: self._store.groups.create(domain, name))

    async def update_group(
        self, domain: str, name: str, added: Collection[str], removed: Collection[str]
    ) -> Group:
        """See Enrolments."""
        return await self._change(lambda: self._store.groups.update(domain, name, added, removed))

    async def delete_group(self, domain: str, name: str) -> int:
        """See Enrolments."""
        return await self._change(lambda: self._store.groups.delete(domain, name))

    async def group(self, domain: str, name: str) -> Group:
        """See Enrolments."""
        return await self._read(lambda: self._store.groups.group(domain, name))

    async def groups(self, domain: str, after: str | None, limit: int) -> Sequence[Group]:
        """See Enrolments."""
        return await self._read(lambda: self._store.groups.groups(domain, after, limit))

    async def close(self) -> None:
        """See Enrolments."""
        for pool in (self._writer, self._readers, self._searcher):
            await asyncio.to_thread(pool.shutdown)
        self._store.close()

    async def _change(self, work: Callable[[], T]) -> T:
        """Run a change on the one writing thread; begun, it is finished though its call is gone."""
        if self._pending_changes >= self._limit:
            raise StoreBusy(self._limit)
        self._pending_changes += 1
        change = asyncio.get_running_loop().run_in_executor(self._writer, work)
        change.add_done_callback(self._changed)
        return await asyncio.shield(change)

    def _changed(self, change: asyncio.Future[T]) -> None:
        self._pending_changes -= 1
        if not change.cancelled():
            change.exception()  # seen: the call that asked for it may be gone

    async def _read(self, work: Callable[[], T]) -> T:
        if self._pending_reads >= self._limit:
            raise StoreBusy(self._limit)
        self._pending_reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._pending_reads -= 1
