"""Questions and answers between two processes of one daemon, both ways over one socket."""

from __future__ import annotations

import asyncio
import itertools
import logging
import pickle
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from speakerd_server.errors import SpeakerdError

_log = logging.getLogger(__name__)

_LENGTH = struct.Struct("<I")
_LONGEST_BYTES = 256 << 20
_ASK, _ANSWER, _REFUSE = range(3)

Handler = Callable[[Any], Awaitable[Any]]


class LinkLost(Exception):
    """The process at the other end is gone."""


class Link:
    """One end of a connection: asks the other end, and answers what it asks.

    Both ends are processes of one daemon, run by one user: messages are pickled. Answers may
    overtake each other, but what is sent is received in the order in which it was sent.

    Args:
        reader: Of the connection.
        writer: Of the connection.
        handler: Answers a question; a SpeakerdError that it raises is raised there.
        on_lost: Called once when the other end is gone, however it ended.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Handler,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._handler, self._on_lost = handler, on_lost
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._lost = False
        self._reading = asyncio.create_task(self._read())

    async def ask(self, question: Any) -> Any:
        """Send a question and wait for its answer.

        Raises what the handler there raised, and LinkLost when nobody will answer any more.
        """
        if self._lost:
            raise LinkLost
        number = next(self._numbers)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            self._send(_ASK, number, question)
            await self._drain()
            return await answer
        finally:
            self._asked.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # seen: who asked may have been told in another way

    async def close(self) -> None:
        """Let go of the connection."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._lose()  # a task that is cancelled before it began never came so far

    def _send(self, kind: int, number: int, content: Any) -> None:
        if (
            self._lost or self._writer.is_closing()
        ):  # which uvloop tells who writes by another error
            raise LinkLost
        body = pickle.dumps((kind, number, content), pickle.HIGHEST_PROTOCOL)
        if len(body) > _LONGEST_BYTES:
            raise ValueError(f"a message of {len(body)} bytes is too long for another process")
        self._writer.write(_LENGTH.pack(len(body)) + body)

    async def _drain(self) -> None:
        try:
            await self._writer.drain()
        except OSError:
            raise LinkLost from None

    async def _read(self) -> None:
        try:
            while True:
                (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                if length > _LONGEST_BYTES:
                    break
                kind, number, content = pickle.loads(await self._reader.readexactly(length))
                if kind == _ASK:
                    answering = asyncio.create_task(self._answer(number, content))
                    self._answering.add(answering)
                    answering.add_done_callback(self._answering.discard)
                else:
                    self._settle(kind, number, content)
        except (asyncio.IncompleteReadError, OSError):
            pass
        # The edge between two processes: bytes that are no message can fail in any way.
        except Exception as error:  # noqa: BLE001
            _log.error("message unreadable", extra={"cause": f"{type(error).__name__}: {error}"})
        finally:
            self._lose()

    async def _answer(self, number: int, question: Any) -> None:
        kind, content = _ANSWER, None
        try:
            content = await self._handler(question)
        except SpeakerdError as error:
            kind, content = _REFUSE, error
        # The edge between two processes: who asked must hear that there is no answer.
        except Exception as error:  # noqa: BLE001
            kind, content = _REFUSE, _unnamed(error)
        try:
            self._send(kind, number, content)
        except LinkLost:
            pass  # nobody is there to be told
        # The same edge: what cannot be sent is no answer either.
        except Exception as error:  # noqa: BLE001
            self._send(_REFUSE, number, _unnamed(error))

    def _settle(self, kind: int, number: int, content: Any) -> None:
        asked = self._asked.get(number)
        if asked is None or asked.done():
            return
        if kind == _REFUSE:
            asked.set_exception(content)
        else:
            asked.set_result(content)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(LinkLost())
        for answering in self._answering:
            answering.cancel()
        self._writer.close()
        if self._on_lost is not None:
            self._on_lost()


def _unnamed(error: Exception) -> RuntimeError:
    return RuntimeError(f"{type(error).__name__}: {error}")
