"""Where there is no room, a call is refused at once, by name, with the time to come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import admin_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon, over_fake_engine
from support.page import read_page
from support.speech import noise, pcm16

AT_ONCE_S = 1.0
BATCH_S = 1.5
ONE_WINDOW = pcm16(noise(1.5))
EMBED = pb.EmbedRequest(audio=pb.Audio(format=wire.PCM16, content=ONE_WINDOW))


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Daemon]:
    """One unary call, one window that waits, and an engine that takes long."""
    flags = ("--calls-maximum-unary-calls=1", "--engine-queue-windows=1")
    with over_fake_engine(tmp_path, *flags, delay_s=BATCH_S) as running:
        yield running


def check_refused(error: BaseException | None, reason: str) -> None:
    assert isinstance(error, grpc.RpcError)
    refusal = wire.refusal(error)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
    assert refusal.retry_after_s == 1.0


def wait_until(true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 0.9 * BATCH_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def windows_taken(daemon: Daemon) -> float:
    """Count the windows that the engine's worker has taken out of the queue."""
    return read_page(daemon)["speakerd_queue_seconds_count"]


def test_one_unary_call_too_many_is_refused_at_once(narrow: Daemon) -> None:
    with wire.connected(narrow.address) as stubs:
        first = stubs.verification.Embed.future(EMBED)
        wait_until(lambda: windows_taken(narrow) == 1)
        begin_s = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            stubs.verification.Embed(EMBED)
        assert time.monotonic() - begin_s < AT_ONCE_S
        check_refused(failed.value, "TOO_MANY_CALLS")
        assert first.result().window_count == 1
        assert stubs.verification.Embed(EMBED).window_count == 1


def test_one_window_too_many_is_refused_at_once_and_those_that_wait_are_answered(
    narrow: Daemon,
) -> None:
    config = pb.VerificationConfig(speaker_id="nobody", audio_format=wire.PCM16)

    def call(stubs: wire.Stubs) -> Iterator[pb.StreamVerifyResponse]:
        answers: Iterator[pb.StreamVerifyResponse] = stubs.verification.StreamVerify(
            wire.stream_requests(config, [ONE_WINDOW]), timeout=wire.DEADLINE_S
        )
        assert next(answers).WhichOneof("response") == "opened"
        return answers

    with wire.connected(narrow.address) as stubs:
        computed = call(stubs)
        wait_until(lambda: windows_taken(narrow) == 1)
        waiting = call(stubs)
        info = stubs.admin.GetServerInfo
        wait_until(lambda: info(admin_pb2.GetServerInfoRequest()).queued_windows == 1)
        begin_s = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            list(call(stubs))
        assert time.monotonic() - begin_s < AT_ONCE_S
        check_refused(failed.value, "ENGINE_QUEUE_FULL")
        for answers in (computed, waiting):
            (answer,) = answers
            assert answer.final.window_count == 1


def test_one_change_too_many_is_refused_at_once_and_changes_nothing(tmp_path: Path) -> None:
    """Recordings whose windows share a batch reach the store in the same instant."""
    flag = "--calls-pending-store-changes=1"
    with (
        over_fake_engine(tmp_path, flag, delay_s=0.1) as running,
        wire.connected(running.address) as stubs,
    ):
        config = enrollment_pb2.EnrollmentConfig(audio_format=wire.PCM16)
        config.minimum_net_speech.FromSeconds(1)
        asked = {}
        begin_s = time.monotonic()
        for number in range(17):
            config.speaker_id = f"speaker {number:02}"
            request = enrollment_pb2.EnrollSpeakerRequest(config=config, audio=ONE_WINDOW)
            asked[config.speaker_id] = stubs.enrollment.EnrollSpeaker.future(request)
        failures = {speaker_id: call.exception() for speaker_id, call in asked.items()}
        assert time.monotonic() - begin_s < AT_ONCE_S
        refused = [speaker_id for speaker_id, error in failures.items() if error is not None]
        for speaker_id in refused:
            check_refused(failures[speaker_id], "STORE_BUSY")
        page = stubs.enrollment.ListSpeakers(enrollment_pb2.ListSpeakersRequest())
        stored = [speaker.speaker_id for speaker in page.speakers]
        assert stored == sorted(asked.keys() - set(refused))
        assert refused
        assert stored
        config.speaker_id = refused[0]
        again = enrollment_pb2.EnrollSpeakerRequest(config=config, audio=ONE_WINDOW)
        assert stubs.enrollment.EnrollSpeaker(again).result.speaker.speaker_id == refused[0]
