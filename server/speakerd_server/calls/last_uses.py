"""When speakers were last accepted, noted beside the calls that do so, which never wait for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from contextlib import suppress

from speakerd_server.calls.enrolments import Enrolments
from speakerd_server.errors import SpeakerdError

_log = logging.getLogger(__name__)

HOUR_S = 3600.0
_PENDING = 64
"""Notes under way; what comes when there are more is noted with the speaker's next update."""
_KEPT = 100_000
"""Speakers of whom it is remembered that they were noted this hour."""


class LastUses:
    """Notes accepted speakers in the store, once an hour each.

    What cannot be noted, because the store is not there or has no room, is dropped: the time of
    last use is coarse and no call may fail for it.
    """

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments
        self._noted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, domain: str, speaker_id: str) -> None:
        """Note that a speaker was accepted just now."""
        hour, key = time.time() // HOUR_S, (domain, speaker_id)
        if self._noted.get(key) == hour or len(self._tasks) >= _PENDING:
            return
        self._noted[key] = hour
        self._noted.move_to_end(key)
        if len(self._noted) > _KEPT:
            self._noted.popitem(last=False)
        task = asyncio.create_task(self._store(key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _store(self, key: tuple[str, str]) -> None:
        try:
            with suppress(SpeakerdError):
                await self._enrolments.used(*key)
                return
        except Exception:  # noqa: BLE001 - the task's edge: nobody waits for it
            _log.exception("use not noted")
        self._noted.pop(key, None)

    async def close(self) -> None:
        """Wait for the notes that are under way."""
        await asyncio.gather(*self._tasks)
