"""The error table: every error of errors.py as a gRPC status with google.rpc details."""

from __future__ import annotations

import math
from collections.abc import Iterator

from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from speakerd_server import errors
from speakerd_server.errors import SpeakerdError

ERROR_DOMAIN = "speakerd"
MESSAGE_BYTES = 800

CODES: dict[type[SpeakerdError], StatusCode] = {
    errors.InvalidInput: StatusCode.INVALID_ARGUMENT,
    errors.NotFound: StatusCode.NOT_FOUND,
    errors.NotPossible: StatusCode.FAILED_PRECONDITION,
    errors.GroupExists: StatusCode.ALREADY_EXISTS,
    errors.Exhausted: StatusCode.RESOURCE_EXHAUSTED,
    errors.NotAvailable: StatusCode.UNAVAILABLE,
    errors.TooSlow: StatusCode.DEADLINE_EXCEEDED,
    errors.EngineFailed: StatusCode.INTERNAL,
    errors.StoreCorrupt: StatusCode.DATA_LOSS,
    SpeakerdError: StatusCode.INTERNAL,
}
"""Code of each family; a class takes that of its nearest ancestor here."""


def code_of(kind: type[SpeakerdError]) -> StatusCode:
    """Give the gRPC code of an error class."""
    return next(CODES[ancestor] for ancestor in kind.__mro__ if ancestor in CODES)


def named_errors() -> Iterator[type[SpeakerdError]]:
    """Go through every error class that has a reason of its own and can end a call."""
    waiting: list[type[SpeakerdError]] = [SpeakerdError]
    while waiting:
        kind = waiting.pop()
        if issubclass(kind, errors.StartFailed | errors.JobFailed):
            continue
        waiting.extend(kind.__subclasses__())
        if "reason" in vars(kind):
            yield kind


def retry_after_s(error: SpeakerdError) -> float | None:
    """Give how long to wait before trying again; None where trying again does not help."""
    if isinstance(error, errors.Exhausted | errors.NotAvailable):
        return error.retry_after_s
    return None


def status_of(error: SpeakerdError, request_id: str = "") -> status_pb2.Status:
    """Give the status with ErrorInfo, and BadRequest and RetryInfo where they apply."""
    told = _shortened(error.told)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN)
    if request_id:
        info.metadata["request_id"] = request_id
    details: list[any_pb2.Any] = [_packed(info)]
    if error.field:
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=error.field, description=told, reason=error.reason)
        details.append(_packed(bad))
    wait_s = retry_after_s(error)
    if wait_s is not None:
        whole = math.floor(wait_s)
        delay = duration_pb2.Duration(seconds=whole, nanos=round((wait_s - whole) * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    code = code_of(type(error)).value[0]
    return status_pb2.Status(code=code, message=told, details=details)


def _shortened(message: str) -> str:
    """Keep the message within what a trailer can carry: 8 KiB, percent-encoded, twice."""
    content = message.encode("utf-8", "replace")
    if len(content) <= MESSAGE_BYTES:
        return content.decode()
    return content[:MESSAGE_BYTES].decode(errors="ignore") + " ..."


def _packed(
    message: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
