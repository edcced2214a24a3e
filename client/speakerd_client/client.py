"""The asynchronous client of a speakerd daemon."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self, Unpack
from weakref import WeakSet

import grpc.aio
from speakerd.v1 import (
    admin_pb2_grpc,
    enrollment_pb2,
    enrollment_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)

from speakerd_client import administration, convert, extracting, groups, speakers
from speakerd_client.audio import StreamFormat
from speakerd_client.call_options import (
    CompareOptions,
    EnrollOptions,
    ModelOptions,
    VerifyOptions,
)
from speakerd_client.calls import EnrollmentCall, VerificationCall
from speakerd_client.checks import require, require_address
from speakerd_client.ending import task_is_cancelled
from speakerd_client.errors import CallEnded
from speakerd_client.records import Enrollment, EnrollmentProgress
from speakerd_client.requests import (
    MESSAGE_LIMIT_BYTES,
    Whole,
    check_whole,
    compare_request,
    embed_request,
    enrollment_config,
    sendable,
    verification_config,
)
from speakerd_client.results import Comparison, Embedding, Verification
from speakerd_client.source import AudioSource
from speakerd_client.status import error_from, status_of
from speakerd_client.stream_call import StreamCall, exchange
from speakerd_client.targets import Target

DEFAULT_ADDRESS = "127.0.0.1:8001"
_CHANNEL_OPTIONS = [
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    # A daemon that is frozen, or a network that is gone, is noticed during a call.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
]
_OR_SHORTER = "take a shorter part of it, or 16 bits a sample"


class AsyncClient:
    """Talks to one daemon; many calls may go on at once. Use it in an `async with`, or close it.

    Every method raises the exceptions of `speakerd_client.errors`.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = 60.0) -> None:
        """Connect at the first call.

        Args:
            address: "host:port" of the daemon.
            timeout_s: Longest wait for one answer: of a whole unary call, and from one answer to
                the next at the opening and the end of a stream.

        Raises:
            TypeError: An argument is of the wrong kind.
            ValueError: The address is no "host:port", or timeout_s is not above 0.
        """
        require_address(address)
        require(timeout_s, (int, float), "timeout_s", "a number of seconds")
        if not 0 < timeout_s < math.inf:
            raise ValueError(f"timeout_s must be a number of seconds above 0, not {timeout_s!r}")
        self.address = address
        self.timeout_s = timeout_s
        self._open_channel: grpc.aio.Channel | None = None
        self._streams: WeakSet[StreamCall[Any, Any]] = WeakSet()
        self._watches: set[Any] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Break off what is going on, by CallEnded, and close the connection."""
        self._closed = True
        for watch in tuple(self._watches):
            watch.cancel()
        for stream in tuple(self._streams):
            await stream.abandon()
        if self._open_channel is not None:
            await self._open_channel.close()

    async def verify(
        self, target: Target, audio: Whole, **options: Unpack[VerifyOptions]
    ) -> Verification:
        """Verify one whole recording of at most 10 minutes against `target`."""
        check_whole(audio, advice=f"use verify_stream, or {_OR_SHORTER}")
        with sendable():
            config = verification_config(target, audio, **options)
            request = verification_pb2.VerifyRequest(config=config, audio=audio.content)
        response = await self._unary(self._verification.Verify, request)
        settings = convert.call_settings(response.settings)
        return convert.verification(response.result, settings, is_final=True)

    async def compare(
        self, first: Whole, second: Whole, **options: Unpack[CompareOptions]
    ) -> Comparison:
        """Compare two recordings; nothing is stored."""
        check_whole(first, second, advice=_OR_SHORTER)
        with sendable():
            request = compare_request(first, second, **options)
        return convert.comparison(await self._unary(self._verification.Compare, request))

    async def embed(self, audio: Whole, **options: Unpack[ModelOptions]) -> Embedding:
        """Give the embedding of one recording; nothing is stored."""
        check_whole(audio, advice=_OR_SHORTER)
        with sendable():
            request = embed_request(audio, **options)
        return convert.embedding(await self._unary(self._verification.Embed, request))

    extract = extracting.extract

    async def enroll(
        self, speaker_id: str, audio: Whole, **options: Unpack[EnrollOptions]
    ) -> Enrollment:
        """Add one whole recording to a speaker, who is created where new."""
        check_whole(audio, advice=f"use enroll_stream for up to 10 minutes, or {_OR_SHORTER}")
        with sendable():
            config = enrollment_config(speaker_id, audio, **options)
            request = enrollment_pb2.EnrollSpeakerRequest(config=config, audio=audio.content)
        response = await self._unary(self._enrollment.EnrollSpeaker, request)
        settings = convert.enrollment_settings(response.settings)
        return convert.enrollment(response.result, settings)

    def stream_verify(
        self, target: Target, audio_format: StreamFormat, **options: Unpack[VerifyOptions]
    ) -> VerificationCall:
        """Open a verification: `async with` it, `send` audio, iterate over updates, `finish`."""
        with sendable():
            config = verification_config(target, audio_format, **options)
        request = verification_pb2.StreamVerifyRequest(config=config)
        call = VerificationCall(
            lambda: self._verification.StreamVerify(), request, self.address, self.timeout_s
        )
        self._streams.add(call)
        return call

    def stream_enroll(
        self, speaker_id: str, audio_format: StreamFormat, **options: Unpack[EnrollOptions]
    ) -> EnrollmentCall:
        """Open an enrolment: `async with` it, `send` audio, iterate over progress, `finish`."""
        with sendable():
            config = enrollment_config(speaker_id, audio_format, **options)
        request = enrollment_pb2.StreamEnrollRequest(config=config)
        call = EnrollmentCall(
            lambda: self._enrollment.StreamEnroll(), request, self.address, self.timeout_s
        )
        self._streams.add(call)
        return call

    async def verify_stream(
        self,
        target: Target,
        source: AudioSource,
        audio_format: StreamFormat,
        **options: Unpack[VerifyOptions],
    ) -> AsyncIterator[Verification]:
        """Send a whole source and give each update, last of all the final."""
        async with self.stream_verify(target, audio_format, **options) as call:
            async for update in exchange(call, source):
                yield update

    async def enroll_stream(
        self,
        speaker_id: str,
        source: AudioSource,
        audio_format: StreamFormat,
        **options: Unpack[EnrollOptions],
    ) -> AsyncIterator[EnrollmentProgress | Enrollment]:
        """Send a whole source and give each progress, last of all what was stored."""
        async with self.stream_enroll(speaker_id, audio_format, **options) as call:
            async for update in exchange(call, source):
                yield update

    get_speaker = speakers.get_speaker
    list_speakers = speakers.list_speakers
    update_speaker = speakers.update_speaker
    delete_speaker = speakers.delete_speaker
    opt_out = speakers.opt_out
    allow = speakers.allow

    create_group = groups.create_group
    get_group = groups.get_group
    list_groups = groups.list_groups
    update_group = groups.update_group
    delete_group = groups.delete_group

    server_info = administration.server_info
    list_models = administration.list_models
    load_model = administration.load_model
    unload_model = administration.unload_model
    watch_sessions = administration.watch_sessions
    drain = administration.drain
    resume = administration.resume
    health = administration.health

    @property
    def _channel(self) -> grpc.aio.Channel:
        """Made at the first call, so that it belongs to the event loop that runs then."""
        if self._closed:
            raise CallEnded("this client was closed")
        if self._open_channel is None:
            self._open_channel = grpc.aio.insecure_channel(self.address, options=_CHANNEL_OPTIONS)
        return self._open_channel

    @property
    def _verification(self) -> verification_pb2_grpc.VerificationServiceAsyncStub:
        return verification_pb2_grpc.VerificationServiceStub(self._channel)

    @property
    def _enrollment(self) -> enrollment_pb2_grpc.EnrollmentServiceAsyncStub:
        return enrollment_pb2_grpc.EnrollmentServiceStub(self._channel)

    @property
    def _admin(self) -> admin_pb2_grpc.AdminServiceAsyncStub:
        return admin_pb2_grpc.AdminServiceStub(self._channel)

    async def _unary(self, method: Any, request: Any, *, longer_s: float = 0.0) -> Any:
        """Make one unary call; a failure becomes ours."""
        try:
            return await method(request, timeout=self.timeout_s + longer_s)
        except grpc.aio.AioRpcError as error:
            trailers = tuple(error.trailing_metadata() or ())
            status = status_of(error.code(), error.details(), trailers)
            raise error_from(status, self.address) from error
        except asyncio.CancelledError:
            if task_is_cancelled():
                raise
            raise CallEnded("this client was closed") from None
