"""What the streaming calls have in common: audio out, updates in, one final word."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc.aio

from speakerd_client.checks import require_piece
from speakerd_client.ending import Ending
from speakerd_client.errors import CallEnded, ServerFailed, TooSlow
from speakerd_client.source import AudioSource, each
from speakerd_client.status import error_from

Update = TypeVar("Update")
Final = TypeVar("Final")

MESSAGE_BYTES = 256 * 1024
"""Most audio in one message; the daemon takes 1 MiB."""
KEPT_UPDATES = 1024
"""Unread updates that are kept; the oldest go first, each stands for itself."""


class StreamCall(ABC, Generic[Update, Final]):
    """A call in an `async with`; leaving the block before `finish` abandons it.

    Updates are read in the background, so they may be taken at leisure. All methods raise the
    exception of `speakerd_client.errors` that says why the daemon ended the call.
    """

    def __init__(self, start: Callable[[], Any], config: Any, address: str, timeout_s: float):
        self._start, self._config = start, config
        self._address, self._timeout_s = address, timeout_s
        self._rpc: Any = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._updates: deque[Update] = deque(maxlen=KEPT_UPDATES)
        self._final: Final | None = None
        self._error: BaseException | None = None
        self._half_closed = False
        self._writing = asyncio.Lock()

    @property
    def finished(self) -> bool:
        """True once the final word, or an error, is there: more audio would not be used."""
        return self._final is not None or self._error is not None

    @property
    @abstractmethod
    def request_id(self) -> str:
        """Id of the call; empty before it is open."""

    @property
    @abstractmethod
    def _is_open(self) -> bool:
        """True once the daemon has accepted the config."""

    @abstractmethod
    def _take(self, response: Any) -> None:
        """Keep one answer of the daemon."""

    @abstractmethod
    def _audio(self, content: bytes) -> Any:
        """Make an audio message."""

    async def __aenter__(self) -> Self:
        if self._rpc is not None:
            raise ValueError("a call is entered once; make a new one for each `with`")
        self._rpc = self._start()
        self._reader = asyncio.create_task(self._read(Ending(self._rpc)))
        try:
            await self._push(self._rpc.write, self._config)
            await self._wait(lambda: self._is_open or self.finished)
            self._raise_error()
        except BaseException:
            await self.abandon()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.abandon()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        """Give the next update; ends when the final word is there, see `finish`."""
        self._require_entered()
        await self._wait(
            lambda: bool(self._updates) or self.finished, limited=lambda: self._half_closed
        )
        if self._updates:
            return self._updates.popleft()
        self._raise_error()
        raise StopAsyncIteration

    async def send(self, audio: bytes) -> None:
        """Send audio of any length, split anywhere. Does nothing once the final word is there.

        Raises:
            SpeakerdError: The daemon has ended the call, or `finish` was called before.
            TypeError: This is no audio.
            ValueError: The call is not in a `with`.
        """
        self._require_entered()
        require_piece(audio)
        if self._half_closed:
            raise CallEnded("the audio of this call was ended; open a new call")
        view = memoryview(audio).cast("B")
        for at in range(0, len(view), MESSAGE_BYTES):
            self._raise_error()
            if self.finished:
                return
            message = self._audio(bytes(view[at : at + MESSAGE_BYTES]))
            await self._push(self._rpc.write, message)

    async def send_all(self, source: AudioSource) -> None:
        """Send a whole source and end the audio; a failing source ends the call as well."""
        try:
            async with aclosing(each(source)) as pieces:
                async for piece in pieces:
                    await self.send(piece)
                    if self.finished:
                        return
            await self.end()
        # Whatever the user's source raises must reach the task that reads the updates.
        except Exception as error:  # noqa: BLE001
            self._error = self._error or error
            self._news.set()

    async def end(self) -> None:
        """End the audio; the final word comes next."""
        self._require_entered()
        if not self._half_closed and not self.finished:
            self._half_closed = True
            self._news.set()  # who waits for an update waits no longer than timeout_s from now on
            await self._push(self._rpc.done_writing)

    async def finish(self) -> Final:
        """End the audio and wait for the final word."""
        await self.end()
        await self._wait(lambda: self.finished)
        self._raise_error()
        if self._final is None:
            raise ServerFailed("the daemon ended the call without its final answer")
        return self._final

    async def abandon(self) -> None:
        """Break off; the daemon forgets the call."""
        if self._reader is None:
            return
        if not self.finished:
            self._error = CallEnded("the call was abandoned")
            self._news.set()
        self._rpc.cancel()
        await asyncio.wait([self._reader])

    async def _read(self, ending: Ending) -> None:
        """Take answers until the call ends; runs beside the user's code."""
        try:
            async for response in self._rpc:
                self._take(response)
                self._news.set()
        except (grpc.aio.AioRpcError, asyncio.CancelledError):
            pass  # the ending knows more than the exception
        status = await ending.status()
        if self._final is None and self._error is None:
            self._error = (
                ServerFailed("the daemon ended the call without its final answer")
                if status.code == "OK"
                else error_from(status, self._address, self.request_id)
            )
        self._news.set()

    async def _push(self, step: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Write, or end writing, in at most timeout_s."""
        try:
            # Audio and other messages may come from several tasks; gRPC takes one at a time.
            async with asyncio.timeout(self._timeout_s), self._writing:
                await step(*arguments)
        except TimeoutError as error:
            raise self._too_slow("took nothing") from error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The call is over; why, is for the reader to say.
            await self._wait(lambda: self.finished)
            self._raise_error()

    async def _wait(
        self, ready: Callable[[], bool], limited: Callable[[], bool] = lambda: True
    ) -> None:
        """Wait until `ready`; while limited, at most timeout_s from one answer to the next."""
        while not ready():
            self._news.clear()
            try:
                async with asyncio.timeout(self._timeout_s if limited() else None):
                    await self._news.wait()
            except TimeoutError as error:
                raise self._too_slow("said nothing") from error

    def _too_slow(self, what: str) -> TooSlow:
        message = f"the daemon at {self._address} {what} for {self._timeout_s:g} s"
        return TooSlow(message, request_id=self.request_id)

    def _require_entered(self) -> None:
        if self._rpc is None:
            raise ValueError("the call is not open; use it in a `with` (`async with`) block")

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


async def exchange(
    call: StreamCall[Update, Final], source: AudioSource
) -> AsyncIterator[Update | Final]:
    """Send and read at once; leaving early ends both."""
    sender = asyncio.create_task(call.send_all(source))
    try:
        async for update in call:
            yield update
        yield await call.finish()
    finally:
        sender.cancel()
        await asyncio.wait([sender])
