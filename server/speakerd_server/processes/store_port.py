"""The store's end: answers all processes, and tells them of a change before it is answered."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speakerd_server.calls.enrolments import Enrolments
from speakerd_server.calls.finishing import finished
from speakerd_server.errors import StoreBusy
from speakerd_server.processes.link import Link, LinkLost

_log = logging.getLogger(__name__)

READS_OF_SPEAKERS = ("voiceprint", "state", "is_anyone", "count", "search", "speaker", "speakers")
READS = (*READS_OF_SPEAKERS, "group", "groups", "check_group")
CHANGES_OF_SPEAKERS = ("enrol", "update", "delete", "opt_out", "allow", "used")
CHANGES_OF_GROUPS = ("create_group", "update_group", "delete_group")
CHANGES = CHANGES_OF_SPEAKERS + CHANGES_OF_GROUPS
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class StoreCall:
    """A method of Enrolments and its arguments."""

    method: str
    """One of READS and CHANGES."""
    arguments: tuple[Any, ...]
    """As the method takes them; of a speaker's change, the first two are domain and speaker id."""


@dataclass(frozen=True, slots=True)
class Forget:
    """What was known of a speaker holds no longer."""

    domain: str
    """Of the speaker."""
    speaker_id: str
    """As enrolled."""


class StorePort:
    """Serves a store to the other processes of the daemon."""

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Take other processes at a socket file."""
        await asyncio.to_thread(path.unlink, missing_ok=True)
        self._server = await asyncio.start_unix_server(self._connected, path)

    async def close(self) -> None:
        """Let go of every process."""
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            await link.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def lost() -> None:
            self._links.discard(link)

        link = Link(reader, writer, self._answer, lost)
        self._links.add(link)

    async def _answer(self, call: StoreCall) -> Any:
        if call.method in CHANGES:
            # Begun, it is finished though who asked is gone, and everyone must hear of it.
            return await finished(self._change(call))
        if call.method not in READS:
            raise ValueError(f"{call.method} is nothing that a store does")
        return await getattr(self._enrolments, call.method)(*call.arguments)

    async def _change(self, call: StoreCall) -> Any:
        if call.method in CHANGES_OF_GROUPS:  # of which no other process keeps anything
            return await getattr(self._enrolments, call.method)(*call.arguments)
        domain, speaker_id, *_ = call.arguments
        try:
            result = await getattr(self._enrolments, call.method)(*call.arguments)
        except StoreBusy:
            raise  # it was not begun
        except Exception:
            # What has failed may have changed something all the same, as an erasure that is only
            # incomplete has.
            await self._tell(Forget(domain, speaker_id))
            raise
        await self._tell(Forget(domain, speaker_id))
        return result

    async def _tell(self, forget: Forget) -> None:
        """Return once every process has forgotten; one that does not answer is let go of.

        A process without its link asks anew for everything.
        """

        async def told(link: Link) -> None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await link.ask(forget)
            except TimeoutError:
                _log.warning("a process does not answer the store")
                await link.close()
            except LinkLost:
                pass

        await asyncio.gather(*(told(link) for link in list(self._links)))
