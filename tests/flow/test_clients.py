"""Clients that behave badly free their place, and are told why where they still listen."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from speakerd.v1 import admin_pb2, audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import noise, pcm16

pytestmark = pytest.mark.timeout(60)
CONFIG = pb.VerificationConfig(speaker_id="anyone", audio_format=wire.PCM16)

OPEN_AND_WAIT = """
import sys, threading
sys.path[:0] = {path!r}
from support import wire
from speakerd.v1 import verification_pb2 as pb
def requests():
    yield pb.StreamVerifyRequest(
        config=pb.VerificationConfig(speaker_id="anyone", audio_format=wire.PCM16))
    threading.Event().wait()
with wire.connected({address!r}) as stubs:
    call = stubs.verification.StreamVerify(requests())
    print(next(call).WhichOneof("response"), flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with short patience and two places."""
    with Daemon(
        tmp_path,
        "--calls-idle-timeout-s=1.5",
        "--calls-write-timeout-s=2",
        "--calls-maximum-streams=2",
    ) as running:
        yield running


def live_streams(stubs: wire.Stubs) -> int:
    return stubs.admin.GetServerInfo(admin_pb2.GetServerInfoRequest()).live_streams


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.02)


class Waiting:
    """A stream that sends its config, and then nothing until it is released."""

    def __init__(self, stubs: wire.Stubs) -> None:
        self.release = threading.Event()
        self.call = stubs.verification.StreamVerify(self._requests())
        assert next(self.call).WhichOneof("response") == "opened"

    def _requests(self) -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=CONFIG)
        self.release.wait(30)


def test_a_client_that_is_killed_frees_its_place(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        before = live_streams(stubs)
        path = [str(Path(__file__).resolve().parents[1])]
        script = OPEN_AND_WAIT.format(path=path, address=daemon.address)
        with subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
        ) as client:
            assert client.stdout is not None
            assert client.stdout.readline().strip() == "opened"
            assert live_streams(stubs) == before + 1
            client.send_signal(signal.SIGKILL)
        until(lambda: live_streams(stubs) == before)


def test_a_cancelled_call_and_one_past_its_deadline_free_their_places(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        before = live_streams(stubs)
        waiting = Waiting(stubs)
        waiting.call.cancel()
        until(lambda: live_streams(stubs) == before)
        waiting.release.set()
        never = threading.Event()

        def requests() -> Iterator[pb.StreamVerifyRequest]:
            yield pb.StreamVerifyRequest(config=CONFIG)
            never.wait(30)

        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(requests(), timeout=0.5))
        assert wire.refusal(failed.value).code == grpc.StatusCode.DEADLINE_EXCEEDED
        never.set()
        until(lambda: live_streams(stubs) == before)


def test_a_client_that_never_half_closes_is_ended_by_name(strict: Daemon) -> None:
    with wire.connected(strict.address) as stubs:
        waiting = Waiting(stubs)
        with pytest.raises(grpc.RpcError) as failed:
            list(waiting.call)
        waiting.release.set()
        refusal = wire.refusal(failed.value)
        assert refusal.code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert refusal.reason == "STREAM_IDLE"
        assert live_streams(stubs) == 0


def test_a_client_that_sends_not_even_a_config_is_ended_by_name(strict: Daemon) -> None:
    never = threading.Event()

    def requests() -> Iterator[pb.StreamVerifyRequest]:
        never.wait(30)
        yield pb.StreamVerifyRequest(config=CONFIG)

    with wire.connected(strict.address) as stubs:
        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(requests()))
        never.set()
        assert wire.refusal(failed.value).reason == "STREAM_IDLE"


def test_one_call_too_many_is_refused_at_once_and_told_to_retry(strict: Daemon) -> None:
    with wire.connected(strict.address) as stubs:
        places = [Waiting(stubs), Waiting(stubs)]
        begin = time.monotonic()
        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(iter([pb.StreamVerifyRequest(config=CONFIG)])))
        assert time.monotonic() - begin < 1.0
        refusal = wire.refusal(failed.value)
        assert refusal.code == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (refusal.reason, refusal.retry_after_s) == ("TOO_MANY_STREAMS", 1.0)
        for place in places:
            place.release.set()
            with pytest.raises(grpc.RpcError):
                list(place.call)
        until(lambda: live_streams(stubs) == 0)


def test_a_client_that_stops_reading_is_ended_and_others_go_on(strict: Daemon) -> None:
    """Small windows and many scores: the answers fill the transport before the audio ends."""
    with wire.connected(strict.address) as stubs:
        speakers = pb.SpeakerList(speaker_ids=[f"{i:03}" + "x" * 250 for i in range(100)])
        config = pb.VerificationConfig(
            speakers=speakers, audio_format=wire.PCM16, samples_per_chunk=720
        )

        def requests() -> Iterator[pb.StreamVerifyRequest]:
            yield pb.StreamVerifyRequest(config=config)
            for chunk in wire.pieces(pcm16(noise(30.0)), 32000):
                yield pb.StreamVerifyRequest(audio=chunk)

        stuck = stubs.verification.StreamVerify(requests())
        assert next(stuck).WhichOneof("response") == "opened"
        until(lambda: live_streams(stubs) == 1)
        beside = wire.stream_requests(CONFIG, wire.pieces(pcm16(noise(2.5))))
        answers = list(stubs.verification.StreamVerify(beside))
        assert answers[-1].final.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED
        until(lambda: live_streams(stubs) == 0)
        with pytest.raises(grpc.RpcError) as failed:
            list(stuck)
        assert wire.refusal(failed.value).reason == "CLIENT_NOT_READING"
