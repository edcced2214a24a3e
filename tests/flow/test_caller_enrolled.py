"""Callers who are put on a watchlist from the call in which they are heard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from grpc import StatusCode
from speakerd.v1 import audio_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.watching import (
    CALL_OF,
    SECOND,
    VOICE_OF,
    config,
    group,
    members,
    outcomes,
    refused,
    steps,
    who,
)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("callers")) as running:
        with wire.connected(running.address) as stubs:
            for name, content in VOICE_OF.items():
                wire.enroll(stubs, name, content)
        yield running


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def test_a_caller_is_enrolled_from_the_call_and_known_in_the_next(stubs: wire.Stubs) -> None:
    group(stubs, "from-calls")
    wish = pb.EnrollCaller(group="from-calls", speaker_id="caller-1", display_name="The caller")
    half = CALL_OF["awb"][: 5 * SECOND]
    answers = steps(stubs, config("from-calls"), half, wish, CALL_OF["awb"][5 * SECOND :])
    (outcome,) = outcomes(answers)
    assert (outcome.reason, outcome.message) == ("", "")
    assert outcome.net_speech.ToMilliseconds() == 3960
    kinds = [one.WhichOneof("response") for one in answers]
    assert kinds.index("caller_enrolled") == 3  # opened, and the two windows before it
    assert not who(answers[-1].final)
    assert members(stubs, "from-calls") == ["caller-1"]
    request = enrollment_pb2.GetSpeakerRequest(speaker_id="caller-1")
    speaker = stubs.enrollment.GetSpeaker(request).speaker
    assert speaker.display_name == "The caller"
    assert [one.recording_id for one in speaker.recordings] == [outcome.recording_id]
    assert speaker.recordings[0].window_count == 2
    again = steps(stubs, config("from-calls"), CALL_OF["awb"])[-1].final
    assert who(again) == [("from-calls", "caller-1")]


@pytest.mark.parametrize("gate", [audio_pb2.SPEECH_GATE_ON, audio_pb2.SPEECH_GATE_OFF])
def test_what_is_enrolled_does_not_depend_on_how_the_audio_was_split(
    stubs: wire.Stubs, gate: audio_pb2.SpeechGate.ValueType
) -> None:
    name = f"splits-{gate}"
    group(stubs, name)
    before = CALL_OF["rms"][: 9 * SECOND // 2 + 2]
    found = set()
    for number, size in enumerate((len(before), 1_234, 26_002, 1)):
        if size == 1:
            said = [before[:3], before[3:-1], before[-1:]]
        else:
            said = [before[at : at + size] for at in range(0, len(before), size)]
        wish = pb.EnrollCaller(group=name, speaker_id=f"{name}-{number}")
        answers = steps(stubs, config(speech_gate=gate), *said, wish, CALL_OF["rms"][:SECOND])
        (outcome,) = outcomes(answers)
        assert not outcome.reason
        found.add(outcome.net_speech.ToNanoseconds())
    assert len(found) == 1
    result = steps(
        stubs,
        pb.VerificationConfig(audio_format=wire.PCM16, group=pb.GroupTarget(group=name)),
        CALL_OF["rms"],
    )[-1].final
    scores = [one.score.value for one in result.scores]
    assert len(scores) == 4
    assert max(scores) - min(scores) < 2e-6


def test_what_cannot_be_enrolled_is_told_and_the_call_goes_on(stubs: wire.Stubs) -> None:
    group(stubs, "refusals")
    stubs.enrollment.OptOutSpeaker(enrollment_pb2.OptOutSpeakerRequest(speaker_id="gone"))

    def wish(**fields: Any) -> pb.EnrollCaller:
        return pb.EnrollCaller(**{"group": "refusals", "speaker_id": "x"} | fields)

    said = CALL_OF["slt"]
    answers = steps(
        stubs,
        config(speaker_id="slt"),
        wish(),
        said[: 5 * SECOND // 2],
        wish(),
        said[5 * SECOND // 2 :],
        wish(group="nobody"),
        wish(group=""),
        wish(speaker_id="a/b"),
        wish(display_name="a\nb"),
        wish(speaker_id="gone"),
        wish(speaker_id="awb"),
        wish(speaker_id="fine"),
        *[wish(speaker_id=f"more-{number}") for number in range(2)],
    )
    reasons = [one.reason for one in outcomes(answers)]
    assert reasons == [
        "NOT_ENOUGH_SPEECH",
        "NOT_ENOUGH_SPEECH",
        "GROUP_UNKNOWN",
        "GROUP_NAME_INVALID",
        "SPEAKER_ID_INVALID",
        "FIELD_INVALID",
        "SPEAKER_OPTED_OUT",
        "DIFFERENT_SPEAKER",
        "",
        "",
        "TOO_MANY_CALLER_ENROLMENTS",
    ]
    assert all(bool(one.message) == bool(one.reason) for one in outcomes(answers))
    assert answers[-1].final.decision == audio_pb2.DECISION_ACCEPT
    assert members(stubs, "refusals") == ["fine", "more-0"]
    request = enrollment_pb2.GetSpeakerRequest(speaker_id="x")
    assert refused(lambda: stubs.enrollment.GetSpeaker(request))[0] is StatusCode.NOT_FOUND


def test_a_call_of_two_voices_is_not_enrolled_unless_forced(stubs: wire.Stubs) -> None:
    group(stubs, "two-voices")
    wish = pb.EnrollCaller(group="two-voices", speaker_id="two")
    both = CALL_OF["slt"][: 6 * SECOND] + CALL_OF["rms"][: 8 * SECOND]
    forced = pb.EnrollCaller(group="two-voices", speaker_id="two", force=True)
    answers = steps(stubs, config(), both, wish, forced)
    assert [one.reason for one in outcomes(answers)] == ["MULTIPLE_SPEAKERS", ""]
    assert members(stubs, "two-voices") == ["two"]


def test_a_call_does_not_recognise_itself_in_what_it_enrolled(stubs: wire.Stubs) -> None:
    """A stranger could enrol under the claimed id, and be accepted by that very recording."""
    group(stubs, "not-oneself")
    half, rest = CALL_OF["slt"][: 5 * SECOND], CALL_OF["slt"][5 * SECOND :]
    wish = pb.EnrollCaller(group="not-oneself", speaker_id="stranger")
    for target in (
        {"speaker_id": "stranger"},
        {"whole_domain": pb.WholeDomain(top_k=100)},
        {"group": pb.GroupTarget(group="not-oneself")},
    ):
        expected = steps(stubs, config(**target), half, rest)[-1].final
        answers = steps(stubs, config(**target), half, wish, rest)
        (outcome,), final = outcomes(answers), answers[-1].final
        assert not outcome.reason
        assert (final.decision, final.reason) == (expected.decision, expected.reason)
        assert [one.speaker_id for one in final.scores] == [
            one.speaker_id for one in expected.scores
        ]
        assert final.speakers_compared == expected.speakers_compared
        later = steps(stubs, config(**target), half, rest)[-1].final
        assert later.decision == audio_pb2.DECISION_ACCEPT
        assert "stranger" in {one.speaker_id for one in later.scores}
        assert later.speakers_compared == expected.speakers_compared + 1
        gone = enrollment_pb2.DeleteSpeakerRequest(speaker_id="stranger")
        stubs.enrollment.DeleteSpeaker(gone)


def test_who_was_enrolled_before_is_compared_as_before(stubs: wire.Stubs) -> None:
    group(stubs, "enrolled-before")
    wish = pb.EnrollCaller(group="enrolled-before", speaker_id="slt")
    half, rest = CALL_OF["slt"][: 5 * SECOND], CALL_OF["slt"][5 * SECOND :]
    alone = steps(stubs, config(speaker_id="slt"), half, rest)[-1].final
    answers = steps(stubs, config(speaker_id="slt"), half, wish, wish, rest)
    assert [one.reason for one in outcomes(answers)] == ["", ""]
    final = answers[-1].final
    assert final.decision == audio_pb2.DECISION_ACCEPT
    expected = alone.scores[0].score.value
    assert final.scores[0].score.value == pytest.approx(expected, abs=1e-5)
    again = steps(stubs, config(speaker_id="slt"), half, rest)[-1].final
    assert again.scores[0].score.value > expected + 0.05


def test_who_was_enrolled_from_the_call_is_no_hit_of_any_list(stubs: wire.Stubs) -> None:
    wire.enroll(stubs, "pending", VOICE_OF["awb"])
    request = enrollment_pb2.GetSpeakerRequest(speaker_id="pending")
    (recording,) = stubs.enrollment.GetSpeaker(request).speaker.recordings
    emptied = enrollment_pb2.UpdateSpeakerRequest(
        speaker_id="pending", remove_recording_ids=[recording.recording_id]
    )
    stubs.enrollment.UpdateSpeaker(emptied)
    group(stubs, "one-list")
    group(stubs, "another-list", "pending", "rms")
    wish = pb.EnrollCaller(group="one-list", speaker_id="pending")
    said = CALL_OF["awb"]
    lists = config("one-list", "another-list", hit_at=-1.0)
    answers = steps(stubs, lists, said[: 5 * SECOND], wish, said[5 * SECOND :])
    assert not outcomes(answers)[0].reason
    assert who(answers[-1].final) == [("another-list", "rms")]


def test_enrolling_the_caller_before_the_config_is_no_call(stubs: wire.Stubs) -> None:
    request = pb.StreamVerifyRequest(enroll_caller=pb.EnrollCaller(group="fraud", speaker_id="x"))
    call = stubs.verification.StreamVerify(iter([request]), timeout=wire.DEADLINE_S)
    assert refused(lambda: list(call)) == (StatusCode.INVALID_ARGUMENT, "CONFIG_MISSING")
