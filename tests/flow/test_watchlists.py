"""Watchlists on a real daemon: members noticed in calls, and callers put on a list."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from grpc import StatusCode
from speakerd.v1 import audio_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import noise, pcm16
from support.watching import (
    CALL_OF,
    SECOND,
    VOICE_OF,
    config,
    group,
    refused,
    steps,
    updates,
    who,
)

NAN = float("nan")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("watchlists")) as running:
        with wire.connected(running.address) as stubs:
            for name, content in VOICE_OF.items():
                wire.enroll(stubs, name, content)
            group(stubs, "fraud", "slt", "rms")
            group(stubs, "stolen-cards", "slt")
            group(stubs, "empty")
        yield running


@pytest.fixture
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        yield connected


def test_a_member_is_noticed_once_with_its_window_and_the_final_has_all(stubs: wire.Stubs) -> None:
    answers = steps(stubs, config("fraud", speaker_id="awb"), CALL_OF["slt"])
    told = [who(update) for update in updates(answers)]
    assert told[0] == [("fraud", "slt")]
    assert not any(told[1:])
    final = answers[-1].final
    assert who(final) == [("fraud", "slt")]
    (hit,) = updates(answers)[0].watchlist_hits
    assert hit == final.watchlist_hits[0]
    assert (hit.window, hit.audio_time.ToMilliseconds()) == (0, 1980)
    assert hit.score.scale == audio_pb2.SCORE_SCALE_COSINE
    assert hit.score.value >= hit.hit_at == pytest.approx(0.5)


def test_watchlists_leave_the_decision_and_its_scores_alone(stubs: wire.Stubs) -> None:
    with_lists = steps(stubs, config("fraud", "empty", speaker_id="awb"), CALL_OF["slt"])[-1].final
    without = steps(
        stubs,
        pb.VerificationConfig(audio_format=wire.PCM16, speaker_id="awb"),
        CALL_OF["slt"],
    )[-1].final
    del with_lists.watchlist_hits[:]
    assert with_lists.decision == audio_pb2.DECISION_REJECT
    assert with_lists.scores[0].score.value == pytest.approx(without.scores[0].score.value)
    assert with_lists.reason == without.reason


def test_a_call_may_be_for_the_watchlists_alone(stubs: wire.Stubs) -> None:
    final = steps(stubs, config("fraud", "stolen-cards"), CALL_OF["slt"])[-1].final
    assert final.decision == audio_pb2.DECISION_SPEAKER_NOT_PROVIDED
    assert who(final) == [("fraud", "slt"), ("stolen-cards", "slt")]
    assert not steps(stubs, config("fraud", "stolen-cards"), CALL_OF["awb"])[
        -1
    ].final.watchlist_hits


def test_watchlists_go_with_every_target_and_with_whole_recordings(stubs: wire.Stubs) -> None:
    for target in (
        {"whole_domain": pb.WholeDomain()},
        {"group": pb.GroupTarget(group="fraud")},
        {"speakers": pb.SpeakerList(speaker_ids=["slt", "awb"])},
    ):
        request = pb.VerifyRequest(config=config("fraud", **target), audio=CALL_OF["slt"])
        result = stubs.verification.Verify(request, timeout=wire.DEADLINE_S).result
        assert who(result) == [("fraud", "slt")]
        assert result.decision == audio_pb2.DECISION_ACCEPT


def test_hit_at_is_held_on_the_scale_of_the_policy(stubs: wire.Stubs) -> None:
    similarity = pb.Policy(scale=audio_pb2.SCORE_SCALE_SIMILARITY, accept_at=0.99)
    (hit,) = steps(stubs, config("fraud", policy=similarity, hit_at=0.75), CALL_OF["slt"])[
        -1
    ].final.watchlist_hits
    assert hit.score.scale == audio_pb2.SCORE_SCALE_SIMILARITY
    assert hit.score.value >= hit.hit_at == 0.75
    by_policy = steps(stubs, config("fraud", policy=similarity), CALL_OF["slt"])
    assert not by_policy[-1].final.watchlist_hits
    both = steps(stubs, config("fraud", hit_at=-1.0), CALL_OF["slt"])[-1].final
    assert who(both) == [("fraud", "slt"), ("fraud", "rms")]


def test_too_little_speech_is_no_hit_yet(stubs: wire.Stubs) -> None:
    policy = pb.Policy()
    policy.minimum_net_speech.FromMilliseconds(3000)
    answers = steps(stubs, config("fraud", policy=policy), CALL_OF["slt"])
    assert [bool(who(update)) for update in updates(answers)][:2] == [False, True]
    assert updates(answers)[1].watchlist_hits[0].window == 1


def test_who_is_added_or_removed_while_the_call_goes_on_counts_from_then_on(
    stubs: wire.Stubs,
) -> None:
    group(stubs, "changing")
    group(stubs, "deleted", "slt")
    answered: list[pb.StreamVerifyResponse] = []

    def requests() -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=config("changing", "deleted", hit_at=-1.0))
        yield pb.StreamVerifyRequest(audio=CALL_OF["awb"][: 3 * SECOND])
        while len(answered) < 2:
            time.sleep(0.01)
        stubs.enrollment.DeleteGroup(enrollment_pb2.DeleteGroupRequest(name="deleted"))
        change = enrollment_pb2.UpdateGroupRequest(name="changing", add_speaker_ids=["rms"])
        stubs.enrollment.UpdateGroup(change)
        yield pb.StreamVerifyRequest(audio=CALL_OF["awb"][3 * SECOND :])

    answered.extend(stubs.verification.StreamVerify(requests(), timeout=wire.DEADLINE_S))
    assert answered[-1].WhichOneof("response") == "final"
    told = [who(update) for update in updates(answered)]
    assert told[:2] == [[("deleted", "slt")], [("changing", "rms")]]
    assert not any(told[2:])
    assert who(answered[-1].final) == [("deleted", "slt"), ("changing", "rms")]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (config("nobody"), (StatusCode.NOT_FOUND, "GROUP_UNKNOWN")),
        (config("a b"), (StatusCode.INVALID_ARGUMENT, "GROUP_NAME_INVALID")),
        (config("fraud", "fraud"), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config(*"abcdefghijk"), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config("fraud", hit_at=NAN), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config("fraud", hit_at=1.5), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config("fraud", hit_at=-1.5), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config(hit_at=0.5), (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID")),
        (config("fraud", domain="nowhere"), (StatusCode.NOT_FOUND, "DOMAIN_UNKNOWN")),
    ],
)
def test_bad_watchlists_are_named(
    stubs: wire.Stubs, settings: pb.VerificationConfig, expected: tuple[StatusCode, str]
) -> None:
    assert refused(lambda: steps(stubs, settings, CALL_OF["slt"])) == expected


def test_noise_is_no_hit(stubs: wire.Stubs) -> None:
    gate = audio_pb2.SPEECH_GATE_ON
    final = steps(stubs, config("fraud", hit_at=-1.0, speech_gate=gate), pcm16(noise(5.0)))
    assert not final[-1].final.watchlist_hits
