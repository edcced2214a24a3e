"""The edge of every rpc: errors become statuses, streams become chunks, writes have a limit."""

from __future__ import annotations

import asyncio
import logging
import random
import unicodedata
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol, TypeVar

import grpc
from grpc_status import rpc_status

from speakerd_server import metrics
from speakerd_server.errors import (
    AudioMessageTooLarge,
    ClientNotReading,
    ConfigMissing,
    ConfigRepeated,
    Draining,
    EngineFailed,
    FieldInvalid,
    InvalidInput,
    NotAvailable,
    RequestEmpty,
    SpeakerdError,
    StoreCorrupt,
    StoreFull,
    StreamIdle,
)
from speakerd_server.pipeline import Mark
from speakerd_server.wire.status import status_of

AUDIO_MESSAGE_BYTES = 1 << 20
MAXIMUM_REQUEST_ID = 128
T = TypeVar("T")
_OURS = (EngineFailed, NotAvailable, StoreCorrupt, StoreFull)
"""Errors that somebody has to look into here, not at the client."""
SETTLING_S = 0.05
"""A broken connection first looks like half-close; so long after it, the rpc is cancelled."""
_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class StreamRequest(Protocol):
    """A message of StreamVerify or StreamEnroll."""

    audio: bytes

    @property
    def config(self) -> Any:
        """The config, when it is the one that is set."""

    def WhichOneof(self, oneof_group: Any) -> str | None:  # noqa: N802 - protobuf's own name
        """Name the field that is set."""


class InternalFailure(SpeakerdError):
    """Something that has no name here went wrong; the log has it."""

    reason = "INTERNAL"

    def __init__(self, request_id: str) -> None:
        super().__init__(f"the daemon failed; its log has the cause under request {request_id}")


class Called:
    """One call, whatever the protocol: what it is and by what id it can be found again."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.request_id = f"{random.getrandbits(128):032x}"

    def named(self, request_id: str) -> None:
        """Take the client's id where it gave one; raises FieldInvalid."""
        if not request_id:
            return
        if len(request_id) > MAXIMUM_REQUEST_ID:
            problem = f"has {len(request_id)} characters, at most {MAXIMUM_REQUEST_ID} can be"
            raise FieldInvalid("request_id", problem)
        if any(unicodedata.category(character) == "Cc" for character in request_id):
            raise FieldInvalid("request_id", "has a control character")
        self.request_id = request_id

    def note(self, error: SpeakerdError) -> None:
        """Count and log an error that the client is told."""
        metrics.REFUSALS.labels(error.reason).inc()
        about = {"rpc": self.rpc, "request_id": self.request_id, "reason": error.reason}
        if isinstance(error, _OURS) and not isinstance(error, Draining):
            _log.warning("call failed", extra=about | {"cause": str(error)})
        else:
            _log.info("call refused", extra=about)

    def failure(self) -> InternalFailure:
        """Log the exception that is handled now; gives the error that the client is told."""
        _log.exception("rpc failed", extra={"rpc": self.rpc, "request_id": self.request_id})
        return InternalFailure(self.request_id)


class Call(Called):
    """One rpc, and where it is answered."""

    def __init__(self, context: Context, rpc: str) -> None:
        super().__init__(rpc)
        self.context = context

    async def write(self, message: object, timeout_s: float) -> None:
        """Send one answer of a stream; raises ClientNotReading when it is not taken in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.context.write(message)
        except TimeoutError:
            raise ClientNotReading(timeout_s) from None

    async def still_there(self) -> None:
        """Wait until a half-close cannot be a cancelled or broken call any more.

        gRPC ends the request stream in the same way for each, and cancels the rpc right after.
        """
        await asyncio.sleep(SETTLING_S)

    async def refuse(self, error: SpeakerdError) -> NoReturn:
        """End the rpc with the status of an error."""
        self.note(error)
        status = rpc_status.to_status(status_of(error, self.request_id))
        await self.context.abort(status.code, status.details, status.trailing_metadata)


async def answered(context: Context, rpc: str, work: Callable[[Call], Awaitable[T]]) -> T:
    """Do the work of an rpc; whatever fails in it becomes a named status."""
    call = Call(context, rpc)
    try:
        return await work(call)
    except SpeakerdError as error:
        await call.refuse(error)
    except grpc.aio.AbortError:
        raise
    except Exception:  # noqa: BLE001 - the rpc's edge: a client must never see a traceback
        await call.refuse(call.failure())


async def config_of(requests: AsyncIterator[StreamRequest], idle_timeout_s: float) -> Any:
    """Read the config that begins a stream; raises ConfigMissing, RequestEmpty or StreamIdle."""
    try:
        async with asyncio.timeout(idle_timeout_s):
            async for request in requests:
                kind = request.WhichOneof("request")
                if kind == "config":
                    return request.config
                raise RequestEmpty if kind is None else ConfigMissing
    except TimeoutError:
        raise StreamIdle(idle_timeout_s) from None
    raise ConfigMissing


async def chunks_of(requests: AsyncIterator[StreamRequest]) -> AsyncIterator[bytes | Mark]:
    """Give the audio of every later message; raises by the grammar of the stream.

    What is neither config nor audio is a mark with the message that was set.
    """
    async for request in requests:
        kind = request.WhichOneof("request")
        if kind == "config":
            raise ConfigRepeated
        if kind is None:
            raise RequestEmpty
        if kind != "audio":
            yield Mark(getattr(request, kind))
            continue
        chunk = request.audio
        if len(chunk) > AUDIO_MESSAGE_BYTES:
            raise AudioMessageTooLarge(len(chunk), AUDIO_MESSAGE_BYTES)
        yield chunk


@contextmanager
def within(part: str) -> Iterator[None]:
    """Let an error about a field say in which part of the request the field is."""
    try:
        yield
    except InvalidInput as error:
        if error.field.startswith("audio"):
            inner = "content" if error.field == "audio" else error.field.removeprefix("audio_")
            error.field = f"{part}.{inner}"
        raise


@contextmanager
def lag_observed(complete_at_s: float, clock: Callable[[], float]) -> Iterator[None]:
    """Observe the time from the last sample of a window to the end of the body."""
    yield
    metrics.DECISION_LAG_SECONDS.observe(clock() - complete_at_s)
