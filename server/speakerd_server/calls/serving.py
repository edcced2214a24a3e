"""What every call shares: the models and their engines, the store, places, and whether we drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from speakerd_server import metrics
from speakerd_server.cards import Card
from speakerd_server.engine.batcher import Batcher
from speakerd_server.errors import (
    DomainUnknown,
    Draining,
    EngineBusy,
    ModelUnknown,
    StoreBusy,
    TooManyCalls,
    TooManyStreams,
)
from speakerd_server.store.enrolment import EnrolmentStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How much a client may ask for, and how long it may take."""

    domains: tuple[str, ...] = field(
        default=("default",),
        metadata={"each": r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "contains": "default"},
    )
    """Sets of speakers that exist; nothing crosses from one to another. `default` is one of them:
    calls that name none mean it."""
    maximum_streams: int = field(default=1000, metadata={"minimum": 1, "maximum": 100_000})
    """Most live calls at once; one more is refused with TOO_MANY_STREAMS."""
    maximum_wait_s: float = field(default=2.0, metadata={"minimum": 0.01, "maximum": 3600.0})
    """While live windows wait longer for the engine, new live calls are refused: ENGINE_BUSY."""
    maximum_unary_calls: int = field(default=256, metadata={"minimum": 1, "maximum": 100_000})
    """Most unary calls that embed at once; one more is refused with TOO_MANY_CALLS."""
    maximum_unary_audio_mib: int = field(default=512, metadata={"minimum": 64, "maximum": 1 << 20})
    """Most audio of unary calls at once, in MiB; more is refused with TOO_MANY_CALLS."""
    windows_in_flight: int = field(default=4, metadata={"minimum": 1, "maximum": 256})
    """Windows of one call that may wait for the engine; the call is not read further meanwhile."""
    idle_timeout_s: float = field(default=30.0, metadata={"minimum": 0.1, "maximum": 86_400.0})
    """A live call that sends nothing for so long ends with STREAM_IDLE."""
    write_timeout_s: float = field(default=30.0, metadata={"minimum": 0.1, "maximum": 86_400.0})
    """A live call that does not read our answer for so long ends with CLIENT_NOT_READING."""
    enroll_minimum_speech_s: float = field(default=3.0, metadata={"minimum": 0.0, "maximum": 600.0})
    """Net speech that a recording needs where the client names none."""
    pending_store_changes: int = field(default=256, metadata={"minimum": 1, "maximum": 100_000})
    """Changes, or reads, that may wait for the store; one more is refused with STORE_BUSY."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model that can embed."""

    card: Card
    """What it says of itself."""
    engine: Batcher
    """Embeds its windows."""


class Models:
    """The loaded models, by name."""

    def __init__(self, loaded: Sequence[LoadedModel]) -> None:
        self._loaded = tuple(loaded)

    @property
    def default(self) -> LoadedModel:
        """The model of calls that name none."""
        return self._loaded[0]

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._loaded)

    def named(self, name: str) -> LoadedModel:
        """Find "name" or "name/version"; "" is the default; raises ModelUnknown."""
        if not name:
            return self.default
        for model in self._loaded:
            identity = model.card.identity
            if name in (identity.name, f"{identity.name}/{identity.version}"):
                return model
        known = [f"{m.card.identity.name}/{m.card.identity.version}" for m in self._loaded]
        raise ModelUnknown(name, known)


class Serving:
    """What every call shares."""

    def __init__(self, models: Models, store: EnrolmentStore, settings: CallSettings) -> None:
        self.models = models
        self.store = store
        self.settings = settings
        self.started_unix_s = time.time()
        self.draining = False
        self.live_streams = 0
        self.unary_calls = 0
        self._unary_bytes = 0
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._pending_changes = 0
        self._pending_reads = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._searcher = ThreadPoolExecutor(1, thread_name_prefix="store-search")

    @property
    def open_calls(self) -> int:
        """Calls that a drain waits for."""
        return self.live_streams + self.unary_calls

    def domain(self, name: str) -> str:
        """Give the domain a request means; raises DomainUnknown."""
        name = name or "default"
        if name not in self.settings.domains:
            raise DomainUnknown(name)
        return name

    @contextmanager
    def stream_place(self) -> Iterator[None]:
        """Hold a place for a live call; raises Draining, TooManyStreams or EngineBusy at once."""
        self._refuse_when_draining()
        waited_s = max(model.engine.waited_s for model in self.models)
        if waited_s > self.settings.maximum_wait_s:
            raise EngineBusy(waited_s, self.settings.maximum_wait_s)
        if self.live_streams >= self.settings.maximum_streams:
            raise TooManyStreams(self.settings.maximum_streams)
        self.live_streams += 1
        self.quiet.clear()
        metrics.LIVE_STREAMS.set(self.live_streams)
        try:
            yield
        finally:
            self.live_streams -= 1
            metrics.LIVE_STREAMS.set(self.live_streams)
            self._note_quiet()

    @contextmanager
    def unary_place(self, audio_bytes: int) -> Iterator[None]:
        """Hold a place for a unary call; raises Draining or TooManyCalls at once."""
        self._refuse_when_draining()
        limit_bytes = self.settings.maximum_unary_audio_mib << 20
        full = self.unary_calls >= self.settings.maximum_unary_calls
        if full or self._unary_bytes + audio_bytes > limit_bytes:
            raise TooManyCalls(self.unary_calls, self.settings.maximum_unary_audio_mib)
        self.unary_calls += 1
        self._unary_bytes += audio_bytes
        self.quiet.clear()
        try:
            yield
        finally:
            self.unary_calls -= 1
            self._unary_bytes -= audio_bytes
            self._note_quiet()

    async def change(self, work: Callable[[], T]) -> T:
        """Run a change of the store on its one writing thread; raises StoreBusy at once.

        A change that has begun is finished even when its call is cancelled.
        """
        if self._pending_changes >= self.settings.pending_store_changes:
            raise StoreBusy(self.settings.pending_store_changes)
        self._pending_changes += 1
        change = asyncio.get_running_loop().run_in_executor(self._writer, work)
        change.add_done_callback(self._changed)
        return await asyncio.shield(change)

    async def read(self, work: Callable[[], T]) -> T:
        """Run a read of the store's file off the event loop; raises StoreBusy at once."""
        if self._pending_reads >= self.settings.pending_store_changes:
            raise StoreBusy(self.settings.pending_store_changes)
        self._pending_reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._pending_reads -= 1

    async def search(self, work: Callable[[], T]) -> T:
        """Run a search of the voiceprints off the event loop, never behind the disk.

        Live calls wait for it, so it has a thread of its own; at most one for each open call is
        out.
        """
        return await asyncio.get_running_loop().run_in_executor(self._searcher, work)

    def close(self) -> None:
        """Finish the changes that were begun."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._searcher.shutdown()

    def _changed(self, change: asyncio.Future[T]) -> None:
        self._pending_changes -= 1
        if not change.cancelled():
            change.exception()  # seen: the call that asked for it may be gone

    def _note_quiet(self) -> None:
        if not self.open_calls:
            self.quiet.set()

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise Draining
