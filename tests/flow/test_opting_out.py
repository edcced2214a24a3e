"""Who has opted out, on a real daemon: erased, refused by name, and found by nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from speakerd.v1 import audio_pb2, verification_pb2
from speakerd.v1 import enrollment_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import VOICES, noise, pcm16, read

SLT = pcm16(read(VOICES / "slt-enrol.flac"))
CALL = pcm16(read(VOICES / "slt-call.flac"))
RMS = pcm16(read(VOICES / "rms-enrol.flac"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of its own: who stays enrolled here must not be found by other tests."""
    with Daemon(tmp_path_factory.mktemp("opting-out"), "--calls-domains=default,other") as running:
        yield running


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def refused(call: Callable[[], Any]) -> wire.Refusal:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    return wire.refusal(failed.value)


def verified(stubs: wire.Stubs, **target: Any) -> verification_pb2.VerificationResult:
    config = verification_pb2.VerificationConfig(audio_format=wire.PCM16, **target)
    request = verification_pb2.VerifyRequest(config=config, audio=CALL)
    return stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result


def opt_out(stubs: wire.Stubs, speaker_id: str, domain: str = "") -> pb.OptOutSpeakerResponse:
    request = pb.OptOutSpeakerRequest(speaker_id=speaker_id, domain=domain)
    return stubs.enrollment.OptOutSpeaker(request, timeout=wire.DEADLINE_S)


def allow(stubs: wire.Stubs, speaker_id: str) -> pb.Speaker:
    return stubs.enrollment.AllowSpeaker(pb.AllowSpeakerRequest(speaker_id=speaker_id)).speaker


def test_an_opt_out_erases_and_every_call_says_so_until_it_is_lifted(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "out", SLT, display_name="Slt")
    assert verified(stubs, speaker_id="out").decision == audio_pb2.DECISION_ACCEPT
    answer = opt_out(stubs, "out")
    assert (answer.recordings_erased, answer.speaker.state) == (1, pb.SPEAKER_STATE_OPTED_OUT)
    assert answer.speaker.HasField("opt_out_time")
    assert (answer.speaker.display_name, list(answer.speaker.recordings)) == ("", [])
    result = verified(stubs, speaker_id="out")
    assert result.decision == audio_pb2.DECISION_SPEAKER_OPTED_OUT
    assert result.reason == "out asked not to be verified by voice"
    assert not result.scores[0].HasField("score")
    told = refused(lambda: wire.enroll(stubs, "out", SLT))
    assert (told.code, told.reason) == (StatusCode.FAILED_PRECONDITION, "SPEAKER_OPTED_OUT")
    assert told.fields == ("speaker_id",)
    delete = pb.DeleteSpeakerRequest(speaker_id="out")
    told = refused(lambda: stubs.enrollment.DeleteSpeaker(delete))
    assert (told.code, told.reason) == (StatusCode.FAILED_PRECONDITION, "SPEAKER_OPTED_OUT")
    assert allow(stubs, "out").state == pb.SPEAKER_STATE_PENDING
    assert verified(stubs, speaker_id="out").decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
    wire.enroll(stubs, "out", SLT)
    assert verified(stubs, speaker_id="out").decision == audio_pb2.DECISION_ACCEPT


def test_a_streamed_enrolment_is_refused_before_anyone_speaks(stubs: wire.Stubs) -> None:
    opt_out(stubs, "silent")
    config = pb.EnrollmentConfig(speaker_id="silent", audio_format=wire.PCM16)
    requests = iter([pb.StreamEnrollRequest(config=config)])
    answers = stubs.enrollment.StreamEnroll(requests, timeout=wire.DEADLINE_S)
    assert refused(lambda: next(answers)).reason == "SPEAKER_OPTED_OUT"


def test_an_opt_out_while_the_person_speaks_stores_nothing(stubs: wire.Stubs) -> None:
    is_out = threading.Event()

    def requests() -> Iterator[pb.StreamEnrollRequest]:
        config = pb.EnrollmentConfig(speaker_id="meanwhile", audio_format=wire.PCM16)
        yield pb.StreamEnrollRequest(config=config)
        yield pb.StreamEnrollRequest(audio=SLT)
        is_out.wait(wire.DEADLINE_S)

    answers = stubs.enrollment.StreamEnroll(requests(), timeout=wire.DEADLINE_S)
    assert next(answers).WhichOneof("response") == "opened"
    opt_out(stubs, "meanwhile")
    is_out.set()
    assert refused(lambda: list(answers)).reason == "SPEAKER_OPTED_OUT"
    found = stubs.enrollment.GetSpeaker(pb.GetSpeakerRequest(speaker_id="meanwhile")).speaker
    assert list(found.recordings) == []


def test_a_call_that_goes_on_hears_of_an_opt_out(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "leaving", SLT)
    is_out = threading.Event()

    def requests() -> Iterator[verification_pb2.StreamVerifyRequest]:
        config = verification_pb2.VerificationConfig(speaker_id="leaving", audio_format=wire.PCM16)
        yield verification_pb2.StreamVerifyRequest(config=config)
        yield verification_pb2.StreamVerifyRequest(audio=CALL[: 2 * 31920])
        is_out.wait(wire.DEADLINE_S)
        yield verification_pb2.StreamVerifyRequest(audio=CALL[2 * 31920 :])

    answers = stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S)
    assert next(answers).WhichOneof("response") == "opened"
    assert next(answers).update.decision == audio_pb2.DECISION_ACCEPT
    opt_out(stubs, "leaving")
    is_out.set()
    assert list(answers)[-1].final.decision == audio_pb2.DECISION_SPEAKER_OPTED_OUT


def test_a_search_of_the_domain_finds_nobody_who_has_opted_out(stubs: wire.Stubs) -> None:
    for speaker_id, content in (("hidden", SLT), ("seen", RMS)):
        wire.enroll(stubs, speaker_id, content, domain="other")
    everyone = verification_pb2.WholeDomain(top_k=100)
    before = verified(stubs, whole_domain=everyone, domain="other")
    assert "hidden" in [one.speaker_id for one in before.scores]
    opt_out(stubs, "hidden", "other")
    after = verified(stubs, whole_domain=everyone, domain="other")
    assert "hidden" not in [one.speaker_id for one in after.scores]
    assert after.speakers_compared == before.speakers_compared - 1


def test_a_claim_among_others_is_decided_by_those_who_take_part(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "takes-part", SLT)
    opt_out(stubs, "does-not")
    listed = verification_pb2.SpeakerList(speaker_ids=["does-not", "takes-part"])
    result = verified(stubs, speakers=listed)
    assert result.decision == audio_pb2.DECISION_ACCEPT
    assert [one.decision for one in result.scores] == [
        audio_pb2.DECISION_ACCEPT,
        audio_pb2.DECISION_SPEAKER_OPTED_OUT,
    ]


def test_what_cannot_be_lifted_is_named(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "in", pcm16(noise(3.2)))
    told = refused(lambda: allow(stubs, "in"))
    assert (told.code, told.reason) == (StatusCode.FAILED_PRECONDITION, "SPEAKER_NOT_OPTED_OUT")
    told = refused(lambda: allow(stubs, "nobody-at-all"))
    assert (told.code, told.reason) == (StatusCode.NOT_FOUND, "SPEAKER_UNKNOWN")
    told = refused(lambda: opt_out(stubs, "a/b"))
    assert (told.code, told.reason) == (StatusCode.INVALID_ARGUMENT, "SPEAKER_ID_INVALID")
    told = refused(lambda: opt_out(stubs, "in", "nowhere"))
    assert (told.code, told.reason) == (StatusCode.NOT_FOUND, "DOMAIN_UNKNOWN")
