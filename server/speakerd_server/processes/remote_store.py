"""The store as the other processes have it: asked by messages, what it said of voiceprints kept."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.calls.finishing import finished
from speakerd_server.enrolled import Group, NewRecording, Speaker, Voiceprint
from speakerd_server.errors import StoreBusy, StoreInterrupted, StoreUnavailable
from speakerd_server.processes.link import Link, LinkLost
from speakerd_server.processes.store_port import CHANGES, Forget, StoreCall
from speakerd_server.store.answers import Enrolled, OptedOut, SearchResult
from speakerd_server.values import ModelIdentity, SpeakerState

_AGAIN_S = 0.05
_KEPT = 20_000
_NOT_THERE = "its process is being started again"

Key = tuple[str, str]


class RemoteEnrolments:
    """Enrolments over a link that is made again whenever it is lost.

    Voiceprints that were asked for are kept until the store says that they have changed, which it
    does before it answers the change; so this process never uses what an answered change replaced.

    Args:
        path: Socket file where the store listens.
        pending: Changes and reads that may wait for the store's disk.
    """

    def __init__(self, path: Path, pending: int) -> None:
        self._path, self._limit = path, pending
        self._link: Link | None = None
        self._pending = 0
        self._kept: OrderedDict[Key, dict[ModelIdentity, Voiceprint | None]] = OrderedDict()
        self._changes = 0
        self._connecting: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to connect, and go on until it is there."""
        self._connecting = asyncio.create_task(self._connect())

    async def ready(self) -> None:
        """Return once the store is there."""
        if self._connecting is not None:
            await asyncio.shield(self._connecting)

    async def voiceprint(
        self, domain: str, speaker_id: str, model: ModelIdentity
    ) -> Voiceprint | None:
        """See Enrolments."""
        key = domain, speaker_id
        known = self._kept.get(key, {})
        if model in known:
            kept = known[model]
            return None if kept is not None and kept.is_expired(time.time()) else kept
        changes = self._changes
        voiceprint: Voiceprint | None = await self._ask("voiceprint", *key, model)
        if changes == self._changes:
            self._kept.setdefault(key, {})[model] = voiceprint
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return voiceprint

    async def state(self, domain: str, speaker_id: str) -> SpeakerState | None:
        """See Enrolments."""
        state: SpeakerState | None = await self._ask("state", domain, speaker_id)
        return state

    async def is_anyone(self, domain: str, model: ModelIdentity, group: str | None = None) -> bool:
        """See Enrolments."""
        return bool(await self._ask("is_anyone", domain, model, group))

    async def check_group(self, domain: str, group: str) -> None:
        """See Enrolments."""
        await self._ask("check_group", domain, group)

    async def count(self) -> int:
        """See Enrolments."""
        return int(await self._ask("count"))

    async def search(
        self,
        domain: str,
        model: ModelIdentity,
        embedding: NDArray[np.floating],
        top_k: int,
        group: str | None = None,
    ) -> SearchResult:
        """See Enrolments."""
        found: SearchResult = await self._ask("search", domain, model, embedding, top_k, group)
        return found

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
        change = self._ask_disk(
            "enrol", domain, speaker_id, recording, display_name, group, consent_unix_s
        )
        enrolled: Enrolled = await finished(change)
        return enrolled

    async def update(
        self,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        remove_recording_ids: Sequence[str],
        consent_unix_s: float | None = None,
    ) -> Speaker:
        """See Enrolments."""
        change = self._ask_disk(
            "update",
            domain,
            speaker_id,
            display_name,
            tuple(remove_recording_ids),
            consent_unix_s,
        )
        speaker: Speaker = await finished(change)
        return speaker

    async def used(self, domain: str, speaker_id: str) -> None:
        """See Enrolments."""
        await finished(self._ask_disk("used", domain, speaker_id))

    async def delete(self, domain: str, speaker_id: str) -> int:
        """See Enrolments."""
        return int(await finished(self._ask_disk("delete", domain, speaker_id)))

    async def opt_out(self, domain: str, speaker_id: str) -> OptedOut:
        """See Enrolments."""
        opted_out: OptedOut = await finished(self._ask_disk("opt_out", domain, speaker_id))
        return opted_out

    async def allow(self, domain: str, speaker_id: str) -> Speaker:
        """See Enrolments."""
        speaker: Speaker = await finished(self._ask_disk("allow", domain, speaker_id))
        return speaker

    async def speaker(self, domain: str, speaker_id: str) -> Speaker:
        """See Enrolments."""
        speaker: Speaker = await self._ask_disk("speaker", domain, speaker_id)
        return speaker

    async def speakers(self, domain: str, after: str | None, limit: int) -> list[Speaker]:
        """See Enrolments."""
        speakers: list[Speaker] = await self._ask_disk("speakers", domain, after, limit)
        return speakers

    async def create_group(self, domain: str, name: str) -> Group:
        """See Enrolments."""
        group: Group = await finished(self._ask_disk("create_group", domain, name))
        return group

    async def update_group(
        self, domain: str, name: str, added: Collection[str], removed: Collection[str]
    ) -> Group:
        """See Enrolments."""
        change = self._ask_disk("update_group", domain, name, tuple(added), tuple(removed))
        group: Group = await finished(change)
        return group

    async def delete_group(self, domain: str, name: str) -> int:
        """See Enrolments."""
        return int(await finished(self._ask_disk("delete_group", domain, name)))

    async def group(self, domain: str, name: str) -> Group:
        """See Enrolments."""
        group: Group = await self._ask_disk("group", domain, name)
        return group

    async def groups(self, domain: str, after: str | None, limit: int) -> Sequence[Group]:
        """See Enrolments."""
        groups: Sequence[Group] = await self._ask_disk("groups", domain, after, limit)
        return groups

    async def close(self) -> None:
        """Let go of the store's process."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _ask(self, method: str, *arguments: Any) -> Any:
        """Ask for what the store has in memory; there is never more of it than open calls."""
        if self._link is None:
            raise StoreUnavailable(_NOT_THERE)
        try:
            return await self._link.ask(StoreCall(method, arguments))
        except LinkLost:
            if method in CHANGES:
                raise StoreInterrupted from None
            raise StoreUnavailable(_NOT_THERE) from None

    async def _ask_disk(self, method: str, *arguments: Any) -> Any:
        if self._pending >= self._limit:
            raise StoreBusy(self._limit)
        self._pending += 1
        try:
            return await self._ask(method, *arguments)
        finally:
            self._pending -= 1

    async def _told(self, forget: Forget) -> None:
        """Forget a speaker; what is being asked for meanwhile is not kept either."""
        self._changes += 1
        self._kept.pop((forget.domain, forget.speaker_id), None)

    async def _connect(self) -> None:
        while self._link is None:
            with suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                self._link = Link(reader, writer, self._told, self._lost)
                return
            await asyncio.sleep(_AGAIN_S)

    def _lost(self) -> None:
        self._changes += 1
        self._kept.clear()
        if self._link is not None:
            self._link = None
            self.open()
