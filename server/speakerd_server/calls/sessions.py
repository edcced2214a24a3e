"""The live calls that go on now, for those who operate the daemon."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from speakerd_server.values import Decision


@dataclass(frozen=True, slots=True)
class LiveSession:
    """One live call at one moment; numbers and names, never audio, embeddings or scores."""

    request_id: str
    """The client's, or the daemon's where it gave none."""
    rpc: str
    """StreamVerify or StreamEnroll."""
    domain: str
    """Where its speakers are looked up."""
    model: str
    """Name and version of its model."""
    speaker_ids: tuple[str, ...]
    """Claimed or enrolled; empty for a search, and for a call without target."""
    whole_domain: bool
    """Whether it searches the whole domain."""
    group: str
    """The group that it searches; empty: none."""
    process: int
    """Number of the process that serves it, from 0."""
    started_unix_s: float
    """When its config came, seconds since 1970 UTC."""
    audio_received_s: float = 0.0
    """Audio that was received."""
    net_speech_s: float = 0.0
    """Net speech, as of the last update."""
    window_count: int = 0
    """Windows averaged, as of the last update."""
    decision: Decision | None = None
    """Of the last update; None before the first and for enrolments."""


class SessionEntry:
    """One live call in the list; kept cheap, for each update writes to it."""

    def __init__(self, opened: LiveSession) -> None:
        self._opened = opened
        self._latest: tuple[float, float, int, Decision | None] = (0.0, 0.0, 0, None)

    def heard(
        self,
        audio_received_s: float,
        net_speech_s: float,
        window_count: int,
        decision: Decision | None = None,
    ) -> None:
        """Take note of an update."""
        self._latest = (audio_received_s, net_speech_s, window_count, decision)

    @property
    def session(self) -> LiveSession:
        """The call as of its last update."""
        received_s, speech_s, windows, decision = self._latest
        return replace(
            self._opened,
            audio_received_s=received_s,
            net_speech_s=speech_s,
            window_count=windows,
            decision=decision,
        )


class Sessions:
    """All live calls of this process.

    Args:
        process: Its number, from 0.
    """

    def __init__(self, process: int = 0) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._entries: dict[int, SessionEntry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @contextmanager
    def opened(
        self,
        *,
        request_id: str,
        rpc: str,
        domain: str,
        model: str,
        speaker_ids: tuple[str, ...] = (),
        whole_domain: bool = False,
        group: str = "",
    ) -> Iterator[SessionEntry]:
        """List a call until the body ends, however it does."""
        number = next(self._numbers)
        entry = SessionEntry(
            LiveSession(
                request_id=request_id,
                rpc=rpc,
                domain=domain,
                model=model,
                speaker_ids=speaker_ids,
                whole_domain=whole_domain,
                group=group,
                process=self._process,
                started_unix_s=time.time(),
            )
        )
        self._entries[number] = entry
        try:
            yield entry
        finally:
            del self._entries[number]

    def now(self) -> list[LiveSession]:
        """Give the calls that go on, oldest first."""
        return [entry.session for entry in self._entries.values()]
