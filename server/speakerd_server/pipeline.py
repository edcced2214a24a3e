"""One signal as async: session and engine together, bounded, in order, freed however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from speakerd_server import metrics
from speakerd_server.engine.engine import Engine
from speakerd_server.errors import StreamIdle
from speakerd_server.gate.frames import first_state
from speakerd_server.gate.gate import Gate
from speakerd_server.session import NOTHING, Session
from speakerd_server.values import Float32, Step, Utterance, Window


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A place between two chunks at which it shall be told what was heard before it."""

    content: object
    """Whatever the one who reads the chunks wants to find there."""


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
    mark: Mark | None = None
    """Told because of this mark: by the full windows of the chunks before it, all of them."""


@dataclass(frozen=True, slots=True)
class _Pending:
    window: Window
    embedding: asyncio.Future[Float32]
    complete_at_s: float


@dataclass(frozen=True, slots=True)
class _Due:
    utterance: Utterance
    complete_at_s: float
    mark: Mark | None = None


_Item = _Pending | _Due | BaseException | None


class Judge:
    """Has the frames of one signal judged, and remembers what the gate's network must.

    Args:
        gate: None where the session has none.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate, self._state = gate, first_state()

    async def windows(self, session: Session, step: Step) -> Step:
        """Give a step without frames to judge. Raises what the gate raises, and AudioTooLong."""
        while step.gate_frames is not None:
            if self._gate is None:
                raise ValueError("a session with a speech gate needs one")
            judged = self._gate.submit(step.gate_frames, self._state)
            probabilities, self._state = await judged
            step = session.absorb_gate(probabilities)
        return step


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
        engine: Engine,
        chunks: AsyncIterator[bytes | Mark],
        *,
        piece_bytes: int,
        windows_in_flight: int,
        idle_timeout_s: float | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._session = session
        self._engine = engine
        self._judge = Judge(gate)
        self._chunks = chunks
        self._piece_bytes = piece_bytes
        self._idle_timeout_s = idle_timeout_s
        self._complete_at_s = 0.0
        self._places = asyncio.Semaphore(windows_in_flight)
        self._windows_in_flight = windows_in_flight
        self._items: asyncio.Queue[_Item] = asyncio.Queue(windows_in_flight + 1)
        self._reader: asyncio.Task[None] | None = None
        self._chunk_count = 0
        self._working = False
        self._idle = _Idle(idle_timeout_s, self._progress, self._stop_reading)

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        self._idle.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._idle.stop()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])
            self._reader = None  # it remembers where it was cancelled: a ring, freed late
        metrics.WINDOWS_WITHOUT_VARIANCE.inc(self._session.utterance.windows_without_variance)
        while not self._items.empty():
            item = self._items.get_nowait()
            if isinstance(item, _Pending):
                drop(item.embedding)

    async def heard(self) -> AsyncIterator[Heard]:
        """Tell what was heard whenever an update is due, at every mark, and once more at the end.

        Raises what session and engine raise, and StreamIdle.
        """
        while (item := await self._items.get()) is not None:
            if isinstance(item, BaseException):
                try:
                    raise item
                finally:
                    del item  # the error knows this frame: a ring, freed late
            if isinstance(item, _Due):
                yield self._tell(item.utterance, item.complete_at_s, mark=item.mark)
                continue
            embedding = await item.embedding
            self._places.release()
            for utterance in self._session.absorb_embedding(item.window, embedding):
                yield self._tell(utterance, item.complete_at_s)
        yield self._tell(self._session.utterance, self._complete_at_s, final=True)

    def _tell(
        self,
        utterance: Utterance,
        complete_at_s: float,
        final: bool = False,
        mark: Mark | None = None,
    ) -> Heard:
        return Heard(utterance, final, self._session.received_samples, complete_at_s, mark)

    def _progress(self) -> int | None:
        """Count the chunks so far; None while the next one is not waited for."""
        return None if self._working else self._chunk_count

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        try:
            await self._read_all()
            await self._items.put(None)
        except asyncio.CancelledError:
            if self._idle.expired is None:
                raise
            await self._items.put(StreamIdle(self._idle.expired))
        except Exception as error:  # noqa: BLE001 - the task's edge: heard() raises it to the caller
            await self._items.put(error)

    async def _read_all(self) -> None:
        session = self._session
        async for chunk in self._chunks:
            self._chunk_count += 1
            if isinstance(chunk, Mark):
                await self._take_mark(chunk)
            elif len(chunk) > self._piece_bytes:
                await self._take_pieces(chunk)
            else:
                step = session.push(chunk)
                if step is not NOTHING:
                    await self._submit(step)
            if session.settled:
                break
        self._idle.stop()
        await self._submit(session.end())

    async def _take_pieces(self, chunk: bytes) -> None:
        for start in range(0, len(chunk), self._piece_bytes):
            await asyncio.sleep(0)
            step = self._session.push(chunk[start : start + self._piece_bytes])
            if step is not NOTHING:
                await self._submit(step)

    async def _take_mark(self, mark: Mark) -> None:
        """Read on only when every window before the mark is absorbed, so that none after it is."""
        await self._submit(self._session.catch_up())
        self._working = True
        for _ in range(self._windows_in_flight):
            await self._places.acquire()
        for _ in range(self._windows_in_flight):
            self._places.release()
        await self._items.put(_Due(self._session.by_windows, self._complete_at_s, mark))
        self._working = False

    async def _submit(self, step: Step) -> None:
        self._working = True
        self._complete_at_s = asyncio.get_running_loop().time()
        step = await self._judge.windows(self._session, step)
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
                drop(embedding)
                raise
        self._working = False


class _Idle:
    """Notices that nothing comes for `limit_s`, or a fifth more at most; None: never.

    A timer for each tenth of the limit, for a timer moved with each message costs more than
    reading it.
    """

    def __init__(
        self,
        limit_s: float | None,
        progress: Callable[[], int | None],
        stop: Callable[[], None],
    ) -> None:
        self.expired: float | None = None
        """The limit, once it is over."""
        self._limit_s = limit_s
        self._call: tuple[Callable[[], int | None], Callable[[], None]] | None = (progress, stop)
        self._seen: int | None = None
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        if self._limit_s is not None:
            self._look(asyncio.get_running_loop(), self._limit_s)

    def stop(self) -> None:
        """Look no more, and let go of the call: in a ring with it, it would be freed late."""
        self._call = None
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        if self._call is None:
            return
        count, stop = self._call
        now_s, progress = loop.time(), count()
        if progress is None or progress != self._seen:
            self._seen, self._since_s = progress, now_s
        elif now_s - self._since_s >= limit_s:
            self.expired = limit_s
            stop()
            return
        self._timer = loop.call_later(limit_s / 10, self._look, loop, limit_s)


def drop(embedding: asyncio.Future[Float32]) -> None:
    """Take a window back; an error that nobody will ask for counts as seen."""
    if not embedding.cancel() and not embedding.cancelled():
        embedding.exception()
