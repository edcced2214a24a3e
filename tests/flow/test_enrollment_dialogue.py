"""Enrolment that looks who speaks and how well, on a real daemon."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import enrollment_pb2 as pb
from speakerd_server.offline.telephone import with_noise
from support import wire
from support.daemon import Daemon
from support.speech import VOICES, pcm16, read


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def speech(name: str) -> bytes:
    return pcm16(read(VOICES / f"{name}.flac"))


def test_two_people_under_one_id_are_refused_unless_forced(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "two-people", speech("slt-enrol"))
    with pytest.raises(grpc.RpcError) as failed:
        wire.enroll(stubs, "two-people", speech("kal16-call"))
    refusal = wire.refusal(failed.value)
    assert refusal.code is grpc.StatusCode.FAILED_PRECONDITION
    assert refusal.reason == "DIFFERENT_SPEAKER"
    assert "`force`" in refusal.message
    request = pb.GetSpeakerRequest(speaker_id="two-people")
    assert len(stubs.enrollment.GetSpeaker(request).speaker.recordings) == 1
    second = wire.enroll(stubs, "two-people", speech("kal16-call"), force=True).result
    assert second.feedback == pb.ENROLL_FEEDBACK_DIFFERENT_SPEAKER
    assert second.recording_consistency < 0.4
    assert len(second.speaker.recordings) == 2


def test_two_people_in_one_recording_are_refused_unless_forced(stubs: wire.Stubs) -> None:
    both = speech("slt-enrol") + speech("awb-enrol")
    with pytest.raises(grpc.RpcError) as failed:
        wire.enroll(stubs, "two-voices", both)
    assert wire.refusal(failed.value).reason == "MULTIPLE_SPEAKERS"
    stored = wire.enroll(stubs, "two-voices", both, force=True).result
    assert stored.feedback == pb.ENROLL_FEEDBACK_MULTIPLE_SPEAKERS


def test_a_voice_that_is_there_under_another_id_is_reported_when_asked(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "first-id", speech("rms-enrol"), domain="other")
    quiet = wire.enroll(stubs, "second-id", speech("rms-call"), domain="other").result
    assert not quiet.duplicates
    asked = wire.enroll(
        stubs, "third-id", speech("rms-call"), domain="other", check_duplicates=True
    ).result
    assert [one.speaker_id for one in asked.duplicates] == ["second-id", "first-id"]
    assert asked.duplicates[0].cosine > asked.duplicates[1].cosine > 0.5
    again = wire.enroll(
        stubs, "third-id", speech("rms-enrol"), domain="other", check_duplicates=True
    ).result
    assert "third-id" not in [one.speaker_id for one in again.duplicates]


def test_a_dialogue_says_what_is_wrong_while_the_person_speaks(daemon: Daemon) -> None:
    wanted = pb.EnrollmentConfig(
        speaker_id="dialogue",
        audio_format=wire.PCM16,
        speech_gate=audio_pb2.SPEECH_GATE_ON,
        quality=audio_pb2.QualityPolicy(minimum_snr_db=4),
    )
    silence, voice = bytes(3 * 32_000), speech("slt-enrol")
    noisy = pcm16(with_noise(read(VOICES / "slt-enrol.flac"), -3.0, 1))
    with wire.connected(daemon.address) as stubs:
        wire.enroll(stubs, "dialogue", voice)

        def said(content: bytes, **config: object) -> list[tuple[str, str]]:
            changed = pb.EnrollmentConfig()
            changed.CopyFrom(wanted)
            changed.MergeFrom(pb.EnrollmentConfig(**config))  # type: ignore[arg-type]
            found = []
            try:
                for answer in enrolled(stubs, changed, content):
                    if answer.HasField("progress"):
                        told = answer.progress
                        found.append((pb.EnrollFeedback.Name(told.feedback)[16:], told.reason))
            except grpc.RpcError as error:
                found.append((wire.refusal(error).reason, ""))
            return found

        kinds = [kind for kind, _ in said(silence + voice)]
        assert kinds[0] == "NO_VOICE"
        assert kinds[-1] == "TOO_SHORT"
        assert [kind for kind, _ in said(voice + voice)][-1] == "OK"
        other = said(speech("kal16-call"))
        assert other[-2:][0][0] == "DIFFERENT_SPEAKER"
        assert other[-1][0] == "DIFFERENT_SPEAKER"
        joined = said(voice + speech("awb-enrol"), speaker_id="dialogue-2")
        assert [kind for kind, _ in joined[-2:]] == ["MULTIPLE_SPEAKERS"] * 2
        bad = said(noisy, speaker_id="dialogue-3", speech_gate=audio_pb2.SPEECH_GATE_OFF)
        assert bad[-1][0] == "POOR_AUDIO"
        assert bad[-2][0] == "POOR_AUDIO"
        assert "signal-to-noise" in bad[-2][1]


def enrolled(
    stubs: wire.Stubs, config: pb.EnrollmentConfig, content: bytes
) -> Iterator[pb.StreamEnrollResponse]:
    def requests() -> Iterator[pb.StreamEnrollRequest]:
        yield pb.StreamEnrollRequest(config=config)
        for piece in wire.pieces(content):
            yield pb.StreamEnrollRequest(audio=piece)

    yield from stubs.enrollment.StreamEnroll(requests(), timeout=wire.DEADLINE_S)
