"""From a gRPC status to the exception that names what happened."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from speakerd_client import errors

_ERRORS: dict[str, type[errors.SpeakerdError]] = {
    "INVALID_ARGUMENT": errors.InvalidRequest,
    "OUT_OF_RANGE": errors.InvalidRequest,
    "NOT_FOUND": errors.NotFound,
    "FAILED_PRECONDITION": errors.NotPossible,
    "ALREADY_EXISTS": errors.NotPossible,
    "ABORTED": errors.NotPossible,
    "RESOURCE_EXHAUSTED": errors.Exhausted,
    "UNAVAILABLE": errors.Unavailable,
    "CANCELLED": errors.Unavailable,
    "DEADLINE_EXCEEDED": errors.TooSlow,
    "UNIMPLEMENTED": errors.NotOffered,
    "INTERNAL": errors.ServerFailed,
    "DATA_LOSS": errors.ServerFailed,
    "UNKNOWN": errors.ServerFailed,
}

CONNECTION_LOST = "CONNECTION_LOST"
"""Reason of a call that was under way when its connection ended, such as by a crash."""
_DETAILS_KEY = "grpc-status-details-bin"
_LOST = re.compile(
    "(?!failed to connect).*(socket closed|connection (reset|aborted|timed out)|broken pipe"
    "|end of tcp stream|goaway|(keepalive|ping|watchdog) timeout|stream removed|transport closed"
    "|endpoint clos|cancelling all calls)",
    re.IGNORECASE | re.DOTALL,
)
"""What gRPC says of a connection that ended, or of a server that stopped, during a call."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a call ended."""

    code: str
    """Name of the gRPC code, such as "OK"."""
    message: str
    """The words that came with it."""
    details: bytes = b""
    """A serialised google.rpc.Status, or nothing."""


def status_of(
    code: grpc.StatusCode, message: str | None, trailers: Iterable[tuple[str, str | bytes]] | None
) -> Status:
    """Take what matters from the end of a call."""
    found = dict(tuple(trailers or ())).get(_DETAILS_KEY, b"")
    return Status(code.name, message or "", found if isinstance(found, bytes) else found.encode())


def error_from(
    status: Status, address: str, request_id: str = "", *, answered: bool = False
) -> errors.SpeakerdError:
    """Make the exception for a call that ended badly.

    Args:
        status: How the call ended; its code is not "OK".
        address: Whom the call was made to, for the message.
        request_id: Id of the call, where it is known: the daemon has answered then.
        answered: Whether it has answered without telling an id.
    """
    info, violations, retry_after_s = _details(status.details)
    if not info.reason:
        return _without_reason(status, address, request_id, answered or bool(request_id))
    return _ERRORS.get(status.code, errors.SpeakerdError)(
        status.message,
        reason=info.reason,
        code=status.code,
        field_violations=violations,
        retry_after_s=retry_after_s,
        request_id=info.metadata.get("request_id", request_id),
    )


def _without_reason(
    status: Status, address: str, request_id: str, answered: bool
) -> errors.SpeakerdError:
    """Name what no daemon of ours has said: the network, a deadline of ours, another server."""
    kind = _ERRORS.get(status.code, errors.SpeakerdError)
    message, reason = status.message or status.code, ""
    if status.code == "UNAVAILABLE" and (answered or _LOST.match(message)):
        kind, reason = errors.NotReachable, CONNECTION_LOST
        message = (
            f"the connection to the daemon at {address} was lost during the call ({message});"
            " whether the call was carried out is not known: see that the daemon runs, then make"
            " the call once more"
        )
    elif status.code == "UNAVAILABLE":
        kind = errors.NotReachable
        message = (
            f"no daemon answers at {address}; is `speakerd serve` running there? ({status.message})"
        )
    elif status.code == "CANCELLED":
        kind = errors.NotReachable
        message = f"the daemon at {address} broke off the call; did it stop?"
    elif status.code == "DEADLINE_EXCEEDED":
        message = f"the daemon at {address} did not answer in time"
    elif status.code == "UNIMPLEMENTED":
        message = f"what answers at {address} does not offer this call; is it a speakerd daemon,"
        message += " and not older than this client?"
    return kind(message, reason=reason, code=status.code, request_id=request_id)


def _details(
    data: bytes,
) -> tuple[error_details_pb2.ErrorInfo, tuple[errors.FieldViolation, ...], float | None]:
    """Unpack google.rpc.ErrorInfo, BadRequest and RetryInfo; what cannot be read is left out."""
    info = error_details_pb2.ErrorInfo()
    violations: tuple[errors.FieldViolation, ...] = ()
    retry_after_s = None
    try:
        packed = status_pb2.Status.FromString(data).details
    except DecodeError:
        return info, violations, retry_after_s
    for detail in packed:
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR):
            detail.Unpack(info)
        elif detail.Unpack(bad):
            violations = tuple(
                errors.FieldViolation(each.field, each.description) for each in bad.field_violations
            )
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return info, violations, retry_after_s
