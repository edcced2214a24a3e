"""Whole recordings and overload beside live calls: the calls that go on are not harmed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import enrollment_pb2 as enrollment
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon, over_fake_engine
from support.speech import VOICES, noise, pcm16, read

CONFIG = pb.VerificationConfig(speaker_id="anyone", audio_format=wire.PCM16)


@pytest.mark.timeout(120)
def test_a_live_call_is_answered_before_whole_recordings_that_came_earlier(daemon: Daemon) -> None:
    long = pb.Audio(format=wire.PCM16, content=pcm16(noise(59.0)))
    embed = pb.EmbedRequest(audio=long, samples_per_chunk=-1)
    with wire.connected(daemon.address) as stubs:
        whole = [stubs.verification.Embed.future(embed) for _ in range(8)]
        time.sleep(0.5)
        requests = wire.stream_requests(CONFIG, wire.pieces(pcm16(noise(6.2))))
        answers = list(stubs.verification.StreamVerify(requests, timeout=wire.DEADLINE_S))
        pending = sum(not one.done() for one in whole)
        assert answers[-1].final.window_count == 4
        assert pending >= 4
        assert all(one.result().window_count == 1 for one in whole)


@pytest.mark.timeout(120)
def test_many_whole_recordings_wait_for_room_and_none_is_refused(daemon: Daemon) -> None:
    audio = pb.Audio(format=wire.PCM16, content=pcm16(noise(8.0)))
    with wire.connected(daemon.address) as stubs:
        calls = [stubs.verification.Embed.future(pb.EmbedRequest(audio=audio)) for _ in range(150)]
        assert {call.result().window_count for call in calls} == {5}


def test_new_live_calls_are_refused_while_those_that_go_on_wait_long(tmp_path: Path) -> None:
    flags = ("--calls-maximum-wait-s=0.3", "--engine-maximum-batch-windows=1")
    with (
        over_fake_engine(tmp_path, *flags, delay_s=1.0) as running,
        wire.connected(running.address) as stubs,
    ):
        sent = [
            stubs.verification.StreamVerify(
                wire.stream_requests(CONFIG, [pcm16(noise(4.2))]), timeout=wire.DEADLINE_S
            )
            for _ in range(2)
        ]
        assert all(next(call).WhichOneof("response") == "opened" for call in sent)
        time.sleep(0.8)
        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(wire.stream_requests(CONFIG, [])))
        refusal = wire.refusal(failed.value)
        assert (refusal.code, refusal.reason) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "ENGINE_BUSY",
        )
        assert refusal.retry_after_s == 1.0
        assert [list(call)[-1].final.window_count for call in sent] == [3, 3]


@pytest.mark.timeout(60)
def test_an_enrolment_that_is_cancelled_before_its_end_stores_nothing(daemon: Daemon) -> None:
    """Exactly one window: nothing is left to embed between the end of the stream and the store."""
    content = pcm16(noise(1.995))
    never = threading.Event()

    def requests(speaker_id: str) -> Iterator[enrollment.StreamEnrollRequest]:
        config = enrollment.EnrollmentConfig(speaker_id=speaker_id, audio_format=wire.PCM16)
        config.minimum_net_speech.seconds = 1
        yield enrollment.StreamEnrollRequest(config=config)
        yield enrollment.StreamEnrollRequest(audio=content)
        never.wait(30)

    names = [f"cancelled-{number}" for number in range(100)]
    with wire.connected(daemon.address) as stubs:
        for name in names:
            call = stubs.enrollment.StreamEnroll(requests(name))
            assert next(call).WhichOneof("response") == "opened"
            assert next(call).WhichOneof("response") == "progress"
            call.cancel()
        time.sleep(0.5)
        page = stubs.enrollment.ListSpeakers(enrollment.ListSpeakersRequest(page_size=1000))
        assert not {speaker.speaker_id for speaker in page.speakers} & set(names)
    never.set()


@pytest.mark.parametrize("size", [300, 3000, 60_000])
def test_long_names_are_refused_by_name_all_the_same(daemon: Daemon, size: int) -> None:
    with wire.connected(daemon.address) as stubs:
        for config, reason in (
            (pb.VerificationConfig(model="m" * size, audio_format=wire.PCM16), "MODEL_UNKNOWN"),
            (pb.VerificationConfig(domain="é" * size, audio_format=wire.PCM16), "DOMAIN_UNKNOWN"),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                stubs.verification.Verify(pb.VerifyRequest(config=config, audio=bytes(1000)))
            assert wire.refusal(failed.value).reason == reason


def test_compare_says_which_recording_is_wrong_and_cuts_both(daemon: Daemon) -> None:
    speech = pcm16(read(VOICES / "slt-call.flac"))
    good = pb.Audio(format=wire.PCM16, content=speech[: 2 * 48_000])
    longer = pb.Audio(format=wire.PCM16, content=speech)
    half = pb.Audio(format=wire.PCM16, content=speech[: 2 * 48_000 + 1])
    with wire.connected(daemon.address) as stubs:
        with pytest.raises(grpc.RpcError) as failed:
            stubs.verification.Compare(pb.CompareRequest(first=good, second=half))
        assert wire.refusal(failed.value).fields == ("second.content",)
        policy = pb.Policy()
        policy.maximum_net_speech.seconds = 3
        request = pb.CompareRequest(first=good, second=longer, policy=policy)
        assert stubs.verification.Compare(request).scores[0].value == pytest.approx(1.0, abs=1e-6)
        assert stubs.verification.Compare(request).decision == audio_pb2.DECISION_ACCEPT
