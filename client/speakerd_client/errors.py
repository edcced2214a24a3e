"""Every failure that the SDK raises.

SpeakerdError
├── InvalidRequest     INVALID_ARGUMENT: the audio or a field is wrong; see field_violations
├── NotFound           NOT_FOUND: unknown speaker, recording, group, model or domain
├── NotPossible        FAILED_PRECONDITION: not enough speech, voiceprint of another model
├── Exhausted          RESOURCE_EXHAUSTED: no room now; see retry_after_s
├── Unavailable        UNAVAILABLE: the daemon is draining or a part of it is down
│   └── NotReachable   no daemon answers at the address, or the connection was lost
├── TooSlow            DEADLINE_EXCEEDED: one side did nothing for too long
├── NotOffered         UNIMPLEMENTED: what answers there does not offer this call
├── ServerFailed       INTERNAL, DATA_LOSS, UNKNOWN: the daemon failed
├── CallerNotEnrolled  a caller was not enrolled from the call, which goes on; see `reason`
├── AudioFileError     a file cannot be read as audio; nothing was sent
├── InvalidList        a list of recordings is not as it must be; nothing was sent
├── InvalidLoad        a load cannot be run as it was asked for; nothing was sent
├── OutputUnusable     results cannot be written where they should
└── CallEnded          audio was sent after the end of the call, or the client was closed

Everything but the last six is made from a gRPC status by `speakerd_client.status`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that the daemon refuses."""

    field: str
    """Name in the contract, for example "audio_format.sample_rate_hz"."""
    description: str
    """What is wrong and what to do, in one sentence."""


class SpeakerdError(Exception):
    """A failure with a name; str() tells the user what to do.

    Attributes:
        message: The daemon's words, or the SDK's.
        reason: Stable name such as "SAMPLE_RATE_UNSUPPORTED"; empty where the daemon gave none.
        code: Name of the gRPC status, such as "INVALID_ARGUMENT"; empty for local failures.
        field_violations: The fields that are wrong, if any.
        retry_after_s: Seconds after which another try may help; None: it will not.
        request_id: Id of the call where it is known, else empty.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: str = "",
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.field_violations = field_violations
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InvalidRequest(SpeakerdError):
    """The audio or a field of the request is wrong."""


class NotFound(SpeakerdError):
    """Something named in the request does not exist."""


class NotPossible(SpeakerdError):
    """The request is well formed but the state of the daemon does not allow it."""


class Exhausted(SpeakerdError):
    """The daemon has no room now."""


class Unavailable(SpeakerdError):
    """The daemon, or a part of it, is not there now."""


class NotReachable(Unavailable):
    """No daemon answers at the address, or the connection to it was lost."""


class TooSlow(SpeakerdError):
    """The daemon or this client did nothing for too long."""


class NotOffered(SpeakerdError):
    """What answers at the address does not offer this call."""


class ServerFailed(SpeakerdError):
    """The daemon failed; the request may be right."""


class CallerNotEnrolled(SpeakerdError):
    """The daemon stored nothing of a caller, and says why; the call goes on."""


class AudioFileError(SpeakerdError):
    """A file cannot be read as audio; nothing was sent."""


class InvalidList(SpeakerdError):
    """A list of recordings is not as it must be; nothing was sent."""


class InvalidLoad(SpeakerdError):
    """A load cannot be run as it was asked for; nothing was sent."""


class OutputUnusable(SpeakerdError):
    """Results cannot be written where they should."""


class CallEnded(SpeakerdError):
    """The call has ended, or the client was closed."""
