"""Enrolment on a real daemon: dialogue, administration, durability, erasure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from speakerd.v1 import audio_pb2, verification_pb2
from speakerd.v1 import enrollment_pb2 as pb
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.other_front_end import with_front_end
from support import wire
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, noise, pcm16, read


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def speech(name: str) -> bytes:
    return pcm16(read(VOICES / f"{name}.flac"))


def stream_enroll(
    stubs: wire.Stubs, speaker_id: str, content: bytes, **fields: Any
) -> list[pb.StreamEnrollResponse]:
    config = pb.EnrollmentConfig(speaker_id=speaker_id, audio_format=wire.PCM16, **fields)

    def requests() -> Iterator[pb.StreamEnrollRequest]:
        yield pb.StreamEnrollRequest(config=config)
        for chunk in wire.pieces(content):
            yield pb.StreamEnrollRequest(audio=chunk)

    return list(stubs.enrollment.StreamEnroll(requests(), timeout=wire.DEADLINE_S))


def decision(stubs: wire.Stubs, speaker_id: str, content: bytes) -> int:
    config = verification_pb2.VerificationConfig(speaker_id=speaker_id, audio_format=wire.PCM16)
    request = verification_pb2.VerifyRequest(config=config, audio=content)
    return stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result.decision


def reason_of(call: Any) -> tuple[StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failed:
        call()
    refusal = wire.refusal(failed.value)
    return refusal.code, refusal.reason


def test_a_dialogue_counts_up_and_ends_stored(stubs: wire.Stubs) -> None:
    content = speech("slt-enrol")
    answers = stream_enroll(stubs, "dialogue", content, minimum_net_speech=Duration(seconds=4))
    assert answers[0].opened.minimum_net_speech.ToSeconds() == 4
    progress = [a.progress for a in answers if a.WhichOneof("response") == "progress"]
    assert [p.percent for p in progress] == [49, 99]
    assert [p.still_needed.ToMilliseconds() for p in progress] == [2020, 40]
    assert progress[0].feedback == pb.ENROLL_FEEDBACK_TOO_SHORT
    final = answers[-1].final
    assert final.speaker.state == pb.SPEAKER_STATE_ENROLLED
    assert final.speaker.recordings[0].recording_id == final.recording_id
    assert final.speaker.net_speech.ToMilliseconds() == 4140
    assert final.feedback == pb.ENROLL_FEEDBACK_OK
    assert not final.HasField("recording_consistency")
    assert decision(stubs, "dialogue", speech("slt-call")) == audio_pb2.DECISION_ACCEPT


def test_too_little_speech_stores_nothing(stubs: wire.Stubs) -> None:
    content = speech("slt-enrol")[: 2 * RATE_HZ * 2]
    found = reason_of(lambda: stream_enroll(stubs, "too-little", content))
    assert found == (StatusCode.FAILED_PRECONDITION, "NOT_ENOUGH_SPEECH")
    request = pb.GetSpeakerRequest(speaker_id="too-little")
    assert reason_of(lambda: stubs.enrollment.GetSpeaker(request)) == (
        StatusCode.NOT_FOUND,
        "SPEAKER_UNKNOWN",
    )


def test_recordings_are_added_and_removed_and_weigh_by_speech(stubs: wire.Stubs) -> None:
    first = wire.enroll(stubs, "several", speech("rms-enrol"), display_name="Several").result
    second = wire.enroll(stubs, "several", speech("rms-call")).result
    assert second.recording_consistency > 0.5
    speaker = stubs.enrollment.GetSpeaker(pb.GetSpeakerRequest(speaker_id="several")).speaker
    assert speaker.display_name == "Several"
    assert [r.recording_id for r in speaker.recordings] == [
        first.recording_id,
        second.recording_id,
    ]
    update = pb.UpdateSpeakerRequest(
        speaker_id="several", display_name="Fewer", remove_recording_ids=[first.recording_id]
    )
    changed = stubs.enrollment.UpdateSpeaker(update).speaker
    assert (changed.display_name, len(changed.recordings)) == ("Fewer", 1)
    update = pb.UpdateSpeakerRequest(
        speaker_id="several", remove_recording_ids=[second.recording_id]
    )
    assert stubs.enrollment.UpdateSpeaker(update).speaker.state == pb.SPEAKER_STATE_PENDING
    found = decision(stubs, "several", speech("rms-enrol"))
    assert found == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED


def test_an_enrolment_is_seen_by_a_call_that_is_already_open(stubs: wire.Stubs) -> None:
    import threading

    enrolled = threading.Event()

    def requests() -> Iterator[verification_pb2.StreamVerifyRequest]:
        config = verification_pb2.VerificationConfig(speaker_id="just-now", audio_format=wire.PCM16)
        yield verification_pb2.StreamVerifyRequest(config=config)
        yield verification_pb2.StreamVerifyRequest(audio=speech("slt-call")[: 2 * 31920])
        enrolled.wait(wire.DEADLINE_S)
        yield verification_pb2.StreamVerifyRequest(audio=speech("slt-call")[2 * 31920 :])

    answers = stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S)
    assert next(answers).WhichOneof("response") == "opened"
    assert next(answers).update.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
    wire.enroll(stubs, "just-now", speech("slt-enrol"))
    enrolled.set()
    assert list(answers)[-1].final.decision == audio_pb2.DECISION_ACCEPT


def test_a_listing_goes_page_by_page_in_order(stubs: wire.Stubs) -> None:
    names = [f"page-{i:02}" for i in range(7)]
    for name in reversed(names):
        wire.enroll(stubs, name, pcm16(noise(3.2)), domain="other")
    found: list[str] = []
    token = ""
    while True:
        page = stubs.enrollment.ListSpeakers(
            pb.ListSpeakersRequest(domain="other", page_size=3, page_token=token)
        )
        assert len(page.speakers) <= 3
        found += [speaker.speaker_id for speaker in page.speakers]
        token = page.next_page_token
        if not token:
            break
    assert [name for name in found if name.startswith("page-")] == names


@pytest.mark.parametrize("token", ["nonsense", "MTo=", "****", "MjphYg=="])
def test_a_foreign_page_token_is_refused(stubs: wire.Stubs, token: str) -> None:
    request = pb.ListSpeakersRequest(page_token=token)
    assert reason_of(lambda: stubs.enrollment.ListSpeakers(request)) == (
        StatusCode.INVALID_ARGUMENT,
        "PAGE_TOKEN_INVALID",
    )


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_page_size_out_of_range_is_refused(stubs: wire.Stubs, size: int) -> None:
    request = pb.ListSpeakersRequest(page_size=size)
    assert reason_of(lambda: stubs.enrollment.ListSpeakers(request))[1] == "FIELD_INVALID"


def test_an_unknown_speaker_or_recording_is_not_found(stubs: wire.Stubs) -> None:
    unknown = (StatusCode.NOT_FOUND, "SPEAKER_UNKNOWN")
    service = stubs.enrollment
    get, delete = pb.GetSpeakerRequest, pb.DeleteSpeakerRequest
    assert reason_of(lambda: service.GetSpeaker(get(speaker_id="who"))) == unknown
    assert reason_of(lambda: service.DeleteSpeaker(delete(speaker_id="who"))) == unknown
    update = pb.UpdateSpeakerRequest(speaker_id="who", display_name="x")
    assert reason_of(lambda: service.UpdateSpeaker(update)) == unknown
    wire.enroll(stubs, "known", pcm16(noise(3.2)))
    update = pb.UpdateSpeakerRequest(speaker_id="known", remove_recording_ids=["none"])
    found = reason_of(lambda: service.UpdateSpeaker(update))
    assert found == (StatusCode.NOT_FOUND, "RECORDING_UNKNOWN")


@pytest.mark.timeout(60)
def test_a_kill_loses_no_acknowledged_enrolment(tmp_path: Path) -> None:
    content = speech("slt-enrol")
    with Daemon(tmp_path) as running, wire.connected(running.address) as stubs:
        stored = wire.enroll(stubs, "slt", content).result
        running.kill()
    with Daemon(tmp_path) as again, wire.connected(again.address) as stubs:
        speaker = stubs.enrollment.GetSpeaker(pb.GetSpeakerRequest(speaker_id="slt")).speaker
        assert speaker == stored.speaker
        assert decision(stubs, "slt", speech("slt-call")) == audio_pb2.DECISION_ACCEPT


@pytest.mark.timeout(60)
def test_a_deleted_voiceprint_leaves_no_byte_behind(tmp_path: Path) -> None:
    with Daemon(tmp_path) as running, wire.connected(running.address) as stubs:
        content = speech("slt-enrol")
        embedded = stubs.verification.Embed(
            verification_pb2.EmbedRequest(
                audio=verification_pb2.Audio(format=wire.PCM16, content=content)
            )
        )
        wire.enroll(stubs, "slt", content)
        wire.enroll(stubs, "stays", speech("rms-enrol"))
        total = np.array(embedded.embedding) * embedded.window_count
        assert _close_values(tmp_path, total) > 100
        stubs.enrollment.DeleteSpeaker(pb.DeleteSpeakerRequest(speaker_id="slt"))
        assert _close_values(tmp_path, total) == 0
        assert (tmp_path / "speakerd.db-wal").stat().st_size == 0
        found = decision(stubs, "slt", speech("slt-call"))
        assert found == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
        wire.enroll(stubs, "slt", content)
        assert _close_values(tmp_path, total) > 100
        stubs.enrollment.OptOutSpeaker(pb.OptOutSpeakerRequest(speaker_id="slt"))
        assert _close_values(tmp_path, total) == 0
        assert (tmp_path / "speakerd.db-wal").stat().st_size == 0


def _close_values(folder: Path, total: np.ndarray) -> int:
    """Count the values of a sum that stand in any file, as float64 at any byte offset."""
    found = 0
    for path in folder.glob("speakerd.db*"):
        content = path.read_bytes()
        for offset in range(8):
            usable = (len(content) - offset) // 8 * 8
            values = np.frombuffer(content[offset : offset + usable], "<f8")
            values = values[np.isfinite(values)]
            for value in total:
                found += bool(np.any(np.abs(values - value) <= 1e-5 * abs(value)))
    return found


@pytest.mark.timeout(60)
def test_voiceprints_of_another_front_end_are_refused(tmp_path: Path) -> None:
    with Daemon(tmp_path) as running, wire.connected(running.address) as stubs:
        wire.enroll(stubs, "slt", speech("slt-enrol"))
    bundle = with_front_end(shipped_bundle(), "wespeaker", tmp_path / "bundle")
    other = Daemon(tmp_path, f"--model-default={bundle}")
    with other, wire.connected(other.address) as stubs:
        mismatch = (StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
        assert reason_of(lambda: decision(stubs, "slt", speech("slt-call"))) == mismatch
        assert reason_of(lambda: wire.enroll(stubs, "slt", speech("slt-enrol"))) == mismatch


@pytest.mark.parametrize("name", ["x" * 257, "red \x1b[31m", "two\nlines"])
def test_a_display_name_that_is_no_plain_text_is_refused(stubs: wire.Stubs, name: str) -> None:
    invalid = (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")
    content = pcm16(noise(3.2))
    assert reason_of(lambda: wire.enroll(stubs, "named", content, display_name=name)) == invalid
