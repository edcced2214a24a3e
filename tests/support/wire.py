"""The contract spoken directly, without the SDK: stubs, requests, and what a status says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2
from speakerd.kserve import inference_pb2_grpc
from speakerd.v1 import (
    admin_pb2_grpc,
    audio_pb2,
    enrollment_pb2,
    enrollment_pb2_grpc,
    verification_pb2,
    verification_pb2_grpc,
)

PCM16 = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM16LE, sample_rate_hz=16000)
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Stubs:
    """Blocking stubs over one channel."""

    channel: grpc.Channel
    verification: verification_pb2_grpc.VerificationServiceStub
    enrollment: enrollment_pb2_grpc.EnrollmentServiceStub
    admin: admin_pb2_grpc.AdminServiceStub
    inference: inference_pb2_grpc.GRPCInferenceServiceStub


@contextmanager
def connected(address: str, *more: tuple[str, int]) -> Iterator[Stubs]:
    """Connect to a daemon; `more` are options of the channel."""
    options = [
        ("grpc.max_send_message_length", 64 << 20),
        ("grpc.max_receive_message_length", 64 << 20),
        *more,
    ]
    with grpc.insecure_channel(address, options=options) as channel:
        yield Stubs(
            channel,
            verification_pb2_grpc.VerificationServiceStub(channel),
            enrollment_pb2_grpc.EnrollmentServiceStub(channel),
            admin_pb2_grpc.AdminServiceStub(channel),
            inference_pb2_grpc.GRPCInferenceServiceStub(channel),
        )


def stream_requests(
    config: verification_pb2.VerificationConfig, chunks: Iterable[bytes]
) -> Iterator[verification_pb2.StreamVerifyRequest]:
    """Follow the grammar of StreamVerify."""
    yield verification_pb2.StreamVerifyRequest(config=config)
    for chunk in chunks:
        yield verification_pb2.StreamVerifyRequest(audio=chunk)


def pieces(content: bytes, size_bytes: int = 3200) -> Iterator[bytes]:
    """Cut audio into messages of equal size."""
    for start in range(0, len(content), size_bytes):
        yield content[start : start + size_bytes]


def enroll(
    stubs: Stubs, speaker_id: str, content: bytes, *, domain: str = "", **config: object
) -> enrollment_pb2.EnrollSpeakerResponse:
    """Enrol one recording of 16 kHz PCM16LE."""
    request = enrollment_pb2.EnrollSpeakerRequest(
        config=enrollment_pb2.EnrollmentConfig(
            speaker_id=speaker_id,
            domain=domain,
            audio_format=PCM16,
            **config,  # type: ignore[arg-type]
        ),
        audio=content,
    )
    return stubs.enrollment.EnrollSpeaker(request, timeout=DEADLINE_S)


@dataclass(frozen=True)
class Refusal:
    """What a status with details says."""

    code: grpc.StatusCode
    reason: str
    message: str
    domain: str
    fields: tuple[str, ...]
    retry_after_s: float | None


def refusal(error: grpc.RpcError) -> Refusal:
    """Read the details of a failed call."""
    assert isinstance(error, grpc.Call)
    reason = domain = ""
    fields: tuple[str, ...] = ()
    retry_after_s = None
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        assert isinstance(value, bytes)
        for detail in status_pb2.Status.FromString(value).details:
            info = error_details_pb2.ErrorInfo()
            bad = error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(info):
                reason, domain = info.reason, info.domain
            elif detail.Unpack(bad):
                fields = tuple(violation.field for violation in bad.field_violations)
            elif detail.Unpack(retry):
                retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    return Refusal(error.code(), reason, error.details() or "", domain, fields, retry_after_s)
