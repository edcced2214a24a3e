"""Sequential decisions on a real daemon: taken as soon as they can be, and then kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.card import read_card
from speakerd_server.offline.telephone import to_line
from support import wire
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, pcm16, read

SLT, RMS = "sequential-slt", "sequential-rms"
SEQUENTIAL = pb.Policy(sequential=pb.SequentialPolicy(target_far=0.01, target_frr=0.05))
GATED = audio_pb2.SPEECH_GATE_ON


def speech(*names: str) -> bytes:
    return pcm16(np.concatenate([read(VOICES / f"{name}.flac") for name in names]))


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        wire.enroll(connected, SLT, speech("slt-enrol"))
        wire.enroll(connected, RMS, speech("rms-enrol"))
        yield connected


def config(**fields: Any) -> pb.VerificationConfig:
    defaults: dict[str, Any] = {
        "audio_format": wire.PCM16,
        "speaker_id": SLT,
        "policy": SEQUENTIAL,
        "speech_gate": GATED,
    }
    if {"speakers", "whole_domain"} & fields.keys():
        del defaults["speaker_id"]
    return pb.VerificationConfig(**(defaults | fields))


def talk(
    stubs: wire.Stubs, content: bytes, *, size_bytes: int = 3200, **fields: Any
) -> list[pb.StreamVerifyResponse]:
    requests = wire.stream_requests(config(**fields), wire.pieces(content, size_bytes))
    return list(stubs.verification.StreamVerify(requests, timeout=wire.DEADLINE_S))


def taken_over() -> bytes:
    """Give a call in which another voice takes over, and speaks for most of it."""
    return speech("slt-call")[: 2 * round(2.6 * RATE_HZ)] + speech("rms-call", "rms-enrol")


def test_an_accept_stays_to_the_final_though_the_score_falls(stubs: wire.Stubs) -> None:
    answers = talk(stubs, taken_over())
    policy = answers[0].opened.policy
    assert policy.sequential == SEQUENTIAL.sequential
    assert not policy.HasField("accept_at")
    assert policy.maximum_net_speech.seconds == 20
    updates = [one.update for one in answers if one.WhichOneof("response") == "update"]
    final = answers[-1].final
    assert final.decision == audio_pb2.DECISION_ACCEPT
    decided = [one for one in updates if one.window_count]
    assert {one.decision for one in decided} == {audio_pb2.DECISION_ACCEPT}
    assert final.scores[0].score.value < final.scores[0].reject_below
    assert "after 1.98 s of speech (1 window); that stays" in final.reason


def test_a_handover_turns_a_settled_accept_back_where_the_policy_wants_that(
    stubs: wire.Stubs,
) -> None:
    policy = pb.Policy(sequential=SEQUENTIAL.sequential, handover=pb.HandoverPolicy(revoke=True))
    content = speech("slt-call", "slt-call", "rms-call", "rms-enrol")
    answers = talk(stubs, content, policy=policy)
    assert answers[0].opened.policy.handover.revoke
    updates = [one.update for one in answers if one.WhichOneof("response") == "update"]
    told = [one for one in updates if one.window_count]
    before = {one.decision for one in told if not one.HasField("handover")}
    since = {one.decision for one in told if one.HasField("handover")}
    assert before == {audio_pb2.DECISION_ACCEPT}
    assert since == {audio_pb2.DECISION_UNDECIDED}
    final = answers[-1].final
    assert final.decision == audio_pb2.DECISION_UNDECIDED
    assert final.reason.startswith("another voice took over")
    assert final.reason.endswith("that stays")
    assert final.scores[0].decision == audio_pb2.DECISION_ACCEPT


def test_a_reject_stays_as_well_and_each_speaker_is_decided_alone(stubs: wire.Stubs) -> None:
    both = pb.SpeakerList(speaker_ids=[RMS, SLT])
    final = talk(stubs, taken_over(), speakers=both)[-1].final
    found = {one.speaker_id: one for one in final.scores}
    assert found[SLT].decision == audio_pb2.DECISION_ACCEPT
    assert found[RMS].decision == audio_pb2.DECISION_REJECT
    assert found[SLT].score.value < found[SLT].accept_at
    assert found[RMS].score.value > found[RMS].accept_at
    assert final.scores[0].speaker_id == RMS
    assert final.decision == audio_pb2.DECISION_ACCEPT
    assert SLT in final.reason


@pytest.mark.parametrize("name", [SLT, RMS])
def test_every_window_is_looked_at_whether_an_update_is_due_or_not(
    stubs: wire.Stubs, name: str
) -> None:
    content = taken_over()
    often = talk(stubs, content, speaker_id=name)
    seldom = talk(
        stubs, content, speaker_id=name, update_interval=Duration(seconds=3600), size_bytes=999
    )
    assert [one.WhichOneof("response") for one in seldom] == ["opened", "final"]
    assert len(often) > 4
    assert seldom[-1].final.decision == often[-1].final.decision
    assert seldom[-1].final.reason == often[-1].final.reason


@pytest.mark.parametrize("name", [SLT, RMS])
def test_a_whole_recording_is_decided_as_the_call_is(stubs: wire.Stubs, name: str) -> None:
    content = taken_over()
    request = pb.VerifyRequest(config=config(speaker_id=name), audio=content)
    whole = stubs.verification.Verify(request, timeout=wire.DEADLINE_S)
    live = talk(stubs, content, speaker_id=name)[-1].final
    assert (whole.result.decision, whole.result.reason) == (live.decision, live.reason)
    assert whole.settings.policy.sequential == SEQUENTIAL.sequential


def test_a_call_by_telephone_is_held_against_the_boundaries_of_both_bands(
    stubs: wire.Stubs,
) -> None:
    line = to_line(read(VOICES / "slt-call.flac"), RATE_HZ)
    mulaw = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)
    final = talk(stubs, line, size_bytes=800, audio_format=mulaw)[-1].final
    score = final.scores[0]
    (learnt,) = [
        one
        for one in read_card(shipped_bundle()).calibration.sequential
        if (one.target_far, one.profile) == (0.01, "wide-narrow")
    ]
    assert score.bands == "wide-narrow"
    assert score.accept_at == learnt.accept[final.net_speech.seconds]
    assert f"boundary {learnt.accept[1]:.4f}" in final.reason


def test_nothing_is_decided_before_the_minimum_of_speech(stubs: wire.Stubs) -> None:
    late = pb.Policy(sequential=SEQUENTIAL.sequential, minimum_net_speech=Duration(seconds=5))
    content = speech("slt-enrol", "slt-call")
    answers = talk(stubs, content, policy=late)
    early = [one.update for one in answers if one.update.net_speech.ToMilliseconds() < 5000]
    assert audio_pb2.DECISION_ACCEPT not in {one.decision for one in early}
    assert "after 5.94 s of speech (3 windows); that stays" in answers[-1].final.reason


def test_bad_audio_is_not_looked_at(stubs: wire.Stubs) -> None:
    strict = audio_pb2.QualityPolicy(minimum_snr_db=60)
    policy = pb.Policy(sequential=SEQUENTIAL.sequential, quality=strict)
    final = talk(stubs, taken_over(), policy=policy)[-1].final
    assert final.decision == audio_pb2.DECISION_POOR_AUDIO


def test_what_is_shorter_than_a_window_is_undecided(stubs: wire.Stubs) -> None:
    short = speech("slt-call")[: 2 * 24_000]
    final = talk(stubs, short)[-1].final
    assert final.window_count == 1
    assert final.decision == audio_pb2.DECISION_UNDECIDED
    assert "crossed no boundary so far" in final.reason


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        (
            {"policy": pb.Policy(sequential=pb.SequentialPolicy(target_far=1e-6, target_frr=0.05))},
            "SEQUENTIAL_UNAVAILABLE",
            "policy.sequential",
        ),
        (
            {"policy": pb.Policy(sequential=pb.SequentialPolicy())},
            "SEQUENTIAL_UNAVAILABLE",
            "policy.sequential",
        ),
        (
            {
                "policy": pb.Policy(
                    sequential=SEQUENTIAL.sequential,
                    scale=audio_pb2.SCORE_SCALE_COSINE,
                    accept_at=0.5,
                )
            },
            "POLICY_INVALID",
            "policy.sequential",
        ),
        (
            {
                "policy": pb.Policy(
                    sequential=SEQUENTIAL.sequential, maximum_net_speech=Duration(seconds=21)
                )
            },
            "POLICY_INVALID",
            "policy.maximum_net_speech",
        ),
        (
            {
                "policy": pb.Policy(
                    sequential=SEQUENTIAL.sequential, maximum_net_speech=Duration(seconds=1)
                )
            },
            "POLICY_INVALID",
            "policy.maximum_net_speech",
        ),
        ({"speech_gate": audio_pb2.SPEECH_GATE_OFF}, "POLICY_INVALID", "policy.sequential"),
        ({"samples_per_chunk": -1}, "POLICY_INVALID", "policy.sequential"),
        ({"samples_per_chunk": 48_000}, "POLICY_INVALID", "policy.sequential"),
        ({"whole_domain": pb.WholeDomain()}, "POLICY_INVALID", "policy.sequential"),
    ],
)
def test_what_the_boundaries_do_not_promise_is_refused(
    stubs: wire.Stubs, fields: dict[str, Any], reason: str, field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        talk(stubs, b"", **fields)
    refusal = wire.refusal(caught.value)
    assert (refusal.code, refusal.reason, refusal.fields) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        reason,
        (field,),
    )
    if reason == "SEQUENTIAL_UNAVAILABLE":
        assert "0.01 and 0.05, 0.05 and 0.05" in refusal.message


def test_a_comparison_has_no_use_for_boundaries(stubs: wire.Stubs) -> None:
    audio = pb.Audio(format=wire.PCM16, content=speech("slt-call"))
    request = pb.CompareRequest(first=audio, second=audio, policy=SEQUENTIAL)
    with pytest.raises(grpc.RpcError) as caught:
        stubs.verification.Compare(request, timeout=wire.DEADLINE_S)
    assert wire.refusal(caught.value).reason == "POLICY_INVALID"
