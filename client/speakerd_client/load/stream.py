"""One paced live stream: audio out by the clock, answers in."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError
from speakerd.v1.verification_pb2 import StreamVerifyResponse

from speakerd_client.ending import Ending, task_is_cancelled
from speakerd_client.errors import ServerFailed, SpeakerdError, TooSlow
from speakerd_client.load.course import Course, Wire
from speakerd_client.load.stream_log import StreamLog
from speakerd_client.load.tally import LiveTally
from speakerd_client.status import error_from

STREAM_VERIFY = "/speakerd.v1.VerificationService/StreamVerify"
ANSWER_S = 30.0
"""Longest wait for `opened`, and from the planned end of the audio for the final."""


class LiveStream:
    """One stream; `run` it once."""

    def __init__(
        self, channel: grpc.aio.Channel, wire: Wire, course: Course, tally: LiveTally
    ) -> None:
        self._channel, self._wire, self._course, self._tally = channel, wire, course, tally
        self._log = StreamLog(course, wire, tally)
        self._rpc: Any = None
        self._answers: Any = None
        self._task: asyncio.Task[Any] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Break off; the stream then counts neither as finished nor as failed."""
        self._stopped = True
        if self._task is not None:
            # Not the call: a write waits for ever for one that was cancelled while it connects.
            self._task.cancel()

    async def run(self, first_message: int, random: Random) -> None:
        """Make the call: open it, send from message `first_message` of the track on, read."""
        if self._stopped:
            return
        self._task = asyncio.current_task()
        self._tally.asked += 1
        self._rpc = self._channel.stream_stream(STREAM_VERIFY)()
        self._answers, ending = aiter(self._rpc), Ending(self._rpc)
        failure: SpeakerdError | None = None
        try:
            await self._converse(first_message, random)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the ending knows more
        except asyncio.CancelledError:
            if task_is_cancelled():
                self._rpc.cancel()
                if self._stopped:
                    return
                raise
            # else the status is CANCELLED, which the ending knows
        except SpeakerdError as error:
            failure = error
            self._rpc.cancel()
        failure = failure or await self._failure(ending)
        if failure is None:
            self._tally.finished += 1
        else:
            self._tally.failures.add(failure)

    async def _failure(self, ending: Ending) -> SpeakerdError | None:
        status = await ending.status()
        if status.code != "OK":
            return error_from(status, self._course.address)
        if not self._log.has_final:
            return ServerFailed("the daemon ended the call without its final answer")
        return None

    async def _converse(self, first_message: int, random: Random) -> None:
        what = "did not open the call"
        try:
            async with asyncio.timeout(ANSWER_S) as patience:
                if not await self._open():
                    return
                what = "gave no final answer to the end of the audio"
                audio_s = self._course.messages * self._course.message_s
                patience.reschedule(monotonic() + audio_s + ANSWER_S)
                await self._exchange(first_message, random)
        except TimeoutError as error:
            text = f"the daemon at {self._course.address} {what} within {ANSWER_S:g} s"
            raise TooSlow(text) from error

    async def _open(self) -> bool:
        """Tell whether the daemon has opened the call."""
        begin_s = monotonic()
        try:
            await self._rpc.write(self._wire.config)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The status comes after the answers, so the true one is seen once they are read.
            async for _ in self._answers:
                pass
            raise
        async for raw in self._answers:
            self._log.opened(_parsed(raw), monotonic() - begin_s)
            return True
        return False

    async def _exchange(self, first_message: int, random: Random) -> None:
        sender = asyncio.create_task(self._send(first_message, random))
        try:
            async for raw in self._answers:
                self._log.heard(_parsed(raw), monotonic())
        finally:
            sender.cancel()
            await asyncio.wait([sender])
        if not sender.cancelled():
            sender.result()

    async def _send(self, first_message: int, random: Random) -> None:
        try:
            await self._pace(first_message, random)
            self._log.half_closed(monotonic())
            await self._rpc.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call is over, and the reader is told so as well
        except asyncio.CancelledError:
            if task_is_cancelled():
                raise

    async def _pace(self, at: int, random: Random) -> None:
        """Hand over every message when it is due; this is the hot path."""
        course, write, handed = self._course, self._rpc.write, self._log.handed
        messages, step_s, jitter_s = self._wire.messages, course.message_s, course.jitter_s
        begin_s, number = monotonic(), 0
        self._log.audio_starts(begin_s)
        try:
            while number < course.messages:
                due_s = begin_s + number * step_s
                if jitter_s:
                    due_s += random.random() * jitter_s
                now_s = monotonic()
                if due_s > now_s:
                    await asyncio.sleep(due_s - now_s)
                    now_s = monotonic()
                handed(number, due_s, now_s)
                await write(messages[at])
                number += 1
                at = at + 1 if at + 1 < len(messages) else 0
        finally:
            self._log.sending_ended(number, monotonic())


def _parsed(raw: bytes) -> StreamVerifyResponse:
    try:
        return StreamVerifyResponse.FromString(raw)
    except DecodeError as error:
        raise ServerFailed("what answers there speaks no speakerd") from error
