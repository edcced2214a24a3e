"""An engine that fails: on one window for its caller alone, by a dying worker for everyone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon, over_fake_engine
from support.fake_daemon import DEADLY, POISON, marked
from support.page import read_page
from support.speech import noise, pcm16

GOOD = pcm16(noise(2.0))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
WHOLE_SERVER = health_pb2.HealthCheckRequest(service="")


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Daemon]:
    with over_fake_engine(tmp_path, delay_s=0.1) as running:
        yield running


def config() -> pb.VerificationConfig:
    return pb.VerificationConfig(speaker_id="nobody", audio_format=wire.PCM16)


def embedding_of(content: bytes) -> pb.EmbedRequest:
    return pb.EmbedRequest(audio=pb.Audio(format=wire.PCM16, content=content))


class Call:
    """A call whose first window is answered and whose second message waits to be let go."""

    def __init__(self, stubs: wire.Stubs, second: bytes) -> None:
        self._second, self._go_on = second, Event()
        self._answers = stubs.verification.StreamVerify(self._requests(), timeout=wire.DEADLINE_S)
        assert next(self._answers).WhichOneof("response") == "opened"
        assert next(self._answers).update.window_count == 1

    def _requests(self) -> Iterator[pb.StreamVerifyRequest]:
        yield pb.StreamVerifyRequest(config=config())
        yield pb.StreamVerifyRequest(audio=GOOD)
        self._go_on.wait(wire.DEADLINE_S)
        yield pb.StreamVerifyRequest(audio=self._second)

    def go_on(self) -> pb.VerificationResult:
        """Send the second message and give the final."""
        self._go_on.set()
        return list(self._answers)[-1].final


def test_a_worker_that_dies_ends_every_call_by_name_and_turns_the_health(fake: Daemon) -> None:
    with wire.connected(fake.address) as stubs:
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(WHOLE_SERVER)
        assert next(watch).status == SERVING
        deadly, neighbour = Call(stubs, marked(2.0, DEADLY)), Call(stubs, GOOD)
        for ended in (
            deadly.go_on,
            neighbour.go_on,
            lambda: stubs.verification.Embed(embedding_of(GOOD)),
            lambda: wire.enroll(stubs, "late", pcm16(noise(4.0))),
            lambda: list(
                stubs.verification.StreamVerify(wire.stream_requests(config(), [GOOD, GOOD]))
            ),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                ended()
            refusal = wire.refusal(failed.value)
            assert (refusal.code, refusal.reason) == (StatusCode.UNAVAILABLE, "ENGINE_DEAD")
            assert "SystemExit: a deadly window" in refusal.message
            assert refusal.retry_after_s is None
        assert next(watch).status == NOT_SERVING
        watch.cancel()
    assert "engine died" in fake.errors()


def test_a_window_that_fails_ends_its_own_call_alone(fake: Daemon) -> None:
    with wire.connected(fake.address) as stubs:
        health = health_pb2_grpc.HealthStub(stubs.channel)
        alone = stubs.verification.Embed(embedding_of(GOOD)).embedding
        poisoned, neighbour = Call(stubs, marked(2.0, POISON)), Call(stubs, GOOD)
        before = read_page(fake)
        contents = [GOOD, GOOD, marked(2.0, POISON), GOOD, GOOD, GOOD]
        asked = [stubs.verification.Embed.future(embedding_of(content)) for content in contents]
        with pytest.raises(grpc.RpcError) as failed:
            poisoned.go_on()
        with pytest.raises(grpc.RpcError) as failed_too:
            asked.pop(2).result()
        for refusal in map(wire.refusal, (failed.value, failed_too.value)):
            assert (refusal.code, refusal.reason) == (StatusCode.INTERNAL, "ENGINE_BATCH_FAILED")
            assert "poisoned window" in refusal.message
        assert [answer.result().embedding == alone for answer in asked] == [True] * 5
        assert neighbour.go_on().window_count == 3
        after = read_page(fake)
        assert after["speakerd_batch_windows_sum"] - before["speakerd_batch_windows_sum"] > (
            after["speakerd_batch_windows_count"] - before["speakerd_batch_windows_count"]
        ), "no batch was shared, so this has shown nothing"
        assert health.Check(WHOLE_SERVER).status == SERVING
