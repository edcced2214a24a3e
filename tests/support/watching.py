"""Calls with watchlists, spoken directly: groups, configs, what is said and what comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from speakerd.v1 import enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.speech import VOICES, pcm16, read

NAMES = ("slt", "rms", "awb")
VOICE_OF = {name: pcm16(read(VOICES / f"{name}-enrol.flac")) for name in NAMES}
CALL_OF = {name: pcm16(read(VOICES / f"{name}-call.flac")) for name in NAMES}
SECOND = 32_000


def group(stubs: wire.Stubs, name: str, *members: str) -> None:
    stubs.enrollment.CreateGroup(enrollment_pb2.CreateGroupRequest(name=name))
    change = enrollment_pb2.UpdateGroupRequest(name=name, add_speaker_ids=members)
    stubs.enrollment.UpdateGroup(change)


def members(stubs: wire.Stubs, name: str) -> list[str]:
    request = enrollment_pb2.GetGroupRequest(name=name)
    return list(stubs.enrollment.GetGroup(request).group.speaker_ids)


def config(*groups: str, **fields: Any) -> pb.VerificationConfig:
    lists = pb.Watchlists(groups=groups)
    if "hit_at" in fields:
        lists.hit_at = fields.pop("hit_at")
    return pb.VerificationConfig(audio_format=wire.PCM16, watchlists=lists, **fields)


def steps(
    stubs: wire.Stubs, settings: pb.VerificationConfig, *said: bytes | pb.EnrollCaller
) -> list[pb.StreamVerifyResponse]:
    def requests() -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=settings)
        for one in said:
            if isinstance(one, bytes):
                for at in range(0, len(one), SECOND):
                    yield pb.StreamVerifyRequest(audio=one[at : at + SECOND])
            else:
                yield pb.StreamVerifyRequest(enroll_caller=one)

    return list(stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S))


def updates(answers: list[pb.StreamVerifyResponse]) -> list[pb.VerificationResult]:
    return [one.update for one in answers if one.WhichOneof("response") == "update"]


def who(result: pb.VerificationResult) -> list[tuple[str, str]]:
    return [(hit.group, hit.speaker_id) for hit in result.watchlist_hits]


def outcomes(answers: list[pb.StreamVerifyResponse]) -> list[pb.CallerEnrolled]:
    return [
        one.caller_enrolled for one in answers if one.WhichOneof("response") == "caller_enrolled"
    ]


def refused(call: Callable[[], Any]) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    told = wire.refusal(failed.value)
    return told.code, told.reason
