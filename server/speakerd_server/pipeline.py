"""One signal as async: session and engine together, bounded, in order, freed however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from speakerd_server import metrics
from speakerd_server.engine.batcher import Batcher
from speakerd_server.errors import StreamIdle
from speakerd_server.session import Session
from speakerd_server.values import Float32, Step, Utterance, Window


@dataclass(frozen=True, slots=True)
class Heard:
    """What is known of a signal at one moment."""

    utterance: Utterance
    """The running mean."""
    final: bool
    """True once, at the end, with the tail window in it."""
    received_samples: int
    """Wire samples received so far."""
    complete_at_s: float
    """Event loop time at which the last sample in it was received."""


@dataclass(frozen=True, slots=True)
class _Pending:
    window: Window
    embedding: asyncio.Future[Float32]
    complete_at_s: float


@dataclass(frozen=True, slots=True)
class _Due:
    utterance: Utterance
    complete_at_s: float


_Item = _Pending | _Due | BaseException | None


class Pipeline:
    """Reads chunks, has their windows embedded and tells what was heard.

    A task of its own reads the chunks, so that an answer never waits for more audio; it stops
    reading while `windows_in_flight` windows of this signal wait, which the transport's flow
    control hands on to the client. A chunk longer than `piece_bytes` is taken in pieces, with other
    calls in between. With an idle timeout the signal is live: its windows go before those of whole
    recordings. Use as an async context manager: leaving it frees everything.
    """

    def __init__(
        self,
        session: Session,
        engine: Batcher,
        chunks: AsyncIterator[bytes],
        *,
        piece_bytes: int,
        windows_in_flight: int,
        idle_timeout_s: float | None = None,
    ) -> None:
        self._session = session
        self._engine = engine
        self._chunks = chunks
        self._piece_bytes = piece_bytes
        self._idle_timeout_s = idle_timeout_s
        self._complete_at_s = 0.0
        self._places = asyncio.Semaphore(windows_in_flight)
        self._items: asyncio.Queue[_Item] = asyncio.Queue(windows_in_flight + 1)
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
        metrics.WINDOWS_WITHOUT_VARIANCE.inc(self._session.utterance.windows_without_variance)
        while not self._items.empty():
            item = self._items.get_nowait()
            if isinstance(item, _Pending):
                _drop(item.embedding)

    async def heard(self) -> AsyncIterator[Heard]:
        """Tell what was heard whenever an update is due, and once more at the end.

        Raises what session and engine raise, and StreamIdle.
        """
        while (item := await self._items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, _Due):
                yield self._tell(item.utterance, item.complete_at_s)
                continue
            embedding = await item.embedding
            self._places.release()
            for utterance in self._session.absorb_embedding(item.window, embedding):
                yield self._tell(utterance, item.complete_at_s)
        yield self._tell(self._session.utterance, self._complete_at_s, final=True)

    def _tell(self, utterance: Utterance, complete_at_s: float, final: bool = False) -> Heard:
        return Heard(utterance, final, self._session.received_samples, complete_at_s)

    async def _read(self) -> None:
        try:
            await self._read_all()
            await self._items.put(None)
        except Exception as error:  # noqa: BLE001 - the task's edge: heard() raises it to the caller
            await self._items.put(error)

    async def _read_all(self) -> None:
        limit_s = self._idle_timeout_s
        try:
            async with asyncio.timeout(limit_s) as idle:
                async for chunk in self._chunks:
                    if len(chunk) <= self._piece_bytes:
                        await self._take(self._session.push(chunk), idle)
                    else:
                        await self._take_pieces(chunk, idle)
                    if self._session.settled:
                        break
                    if limit_s is not None:
                        _put_off(idle, limit_s)
        except TimeoutError:
            if limit_s is None or not idle.expired():
                raise
            raise StreamIdle(limit_s) from None
        await self._submit(self._session.end())

    async def _take_pieces(self, chunk: bytes, idle: asyncio.Timeout) -> None:
        idle.reschedule(None)
        for start in range(0, len(chunk), self._piece_bytes):
            await asyncio.sleep(0)
            piece = chunk[start : start + self._piece_bytes]
            await self._take(self._session.push(piece), idle)

    async def _take(self, step: Step, idle: asyncio.Timeout) -> None:
        if step.windows or step.updates:
            idle.reschedule(None)
            await self._submit(step)

    async def _submit(self, step: Step) -> None:
        self._complete_at_s = asyncio.get_running_loop().time()
        for utterance in step.updates:
            await self._items.put(_Due(utterance, self._complete_at_s))
        for window in step.windows:
            await self._places.acquire()
            if self._idle_timeout_s is None:
                embedding = await self._engine.submit_offline(window)
            else:
                embedding = self._engine.submit(window)
            try:
                await self._items.put(_Pending(window, embedding, self._complete_at_s))
            except asyncio.CancelledError:
                _drop(embedding)
                raise


def _put_off(idle: asyncio.Timeout, limit_s: float) -> None:
    """Let a timeout fire between 1 and 1.1 times its limit from now.

    Moving a timer costs more than decoding a chunk, so it is moved once in a tenth of the limit.
    """
    now, due = asyncio.get_running_loop().time(), idle.when()
    if due is None or due < now + limit_s:
        idle.reschedule(now + 1.1 * limit_s)


def _drop(embedding: asyncio.Future[Float32]) -> None:
    """Take a window back; an error that nobody will ask for counts as seen."""
    if not embedding.cancel() and not embedding.cancelled():
        embedding.exception()
