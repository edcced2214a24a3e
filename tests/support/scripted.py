"""A server that does what a test says, for what no real daemon would do."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc.aio
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from speakerd.v1 import audio_pb2, verification_pb2_grpc
from speakerd.v1 import verification_pb2 as v1

Requests = AsyncIterator[v1.StreamVerifyRequest]
Answers = AsyncGenerator[v1.StreamVerifyResponse, None]
Script = Callable[[Requests, Any], Answers]

OPENED = v1.StreamVerifyResponse(opened=v1.EffectiveSettings(request_id="call-7", domain="default"))
UPDATE = v1.StreamVerifyResponse(
    update=v1.VerificationResult(window_count=1, decision=audio_pb2.DECISION_UNDECIDED)
)
FINAL = v1.StreamVerifyResponse(
    final=v1.VerificationResult(window_count=2, decision=audio_pb2.DECISION_ACCEPT)
)


class _Servicer(verification_pb2_grpc.VerificationServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def StreamVerify(self, request_iterator: Any, context: Any) -> Answers:  # noqa: N802
        async with aclosing(self._script(request_iterator, context)) as answers:
            async for answer in answers:
                yield answer

    def Verify(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotImplementedError

    Compare = Embed = Verify


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """Serve StreamVerify with `script` and give the address."""
    server = grpc.aio.server()
    verification_pb2_grpc.add_VerificationServiceServicer_to_server(_Servicer(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def details(
    reason: str, *, field: str = "", retry_after_s: int | None = None, **metadata: str
) -> tuple[tuple[str, bytes], ...]:
    """Make the trailers of a named error."""
    parts: list[Any] = [
        error_details_pb2.ErrorInfo(reason=reason, domain="speakerd", metadata=metadata)
    ]
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="wrong")
        parts.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = retry_after_s
        parts.append(retry)
    packed = []
    for part in parts:
        holder = any_pb2.Any()
        holder.Pack(part)
        packed.append(holder)
    message = status_pb2.Status(code=3, message="said", details=packed)
    return (("grpc-status-details-bin", message.SerializeToString()),)
