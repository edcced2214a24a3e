"""Bad input ends its own call with a named reason; the call beside it never notices."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from speakerd.v1 import audio_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.bad_calls import CASES, RPCS, SPEECHLIKE
from support.daemon import Daemon
from support.speech import VOICES, noise, pcm16, read

TOLERANCE = 1e-6
ENROLLED = "neighbour"
CALL = pcm16(read(VOICES / "slt-call.flac")[16_000:35_200])


@pytest.fixture(scope="module")
def stubs(daemon: Daemon) -> Iterator[wire.Stubs]:
    with wire.connected(daemon.address) as connected:
        wire.enroll(connected, ENROLLED, pcm16(read(VOICES / "slt-enrol.flac")))
        yield connected


@pytest.fixture(scope="module")
def alone(stubs: wire.Stubs) -> list[float]:
    """The scores of the neighbour's call where no other goes on."""
    return Neighbour(stubs).scores()


class Neighbour:
    """A good call, half of it sent before the bad one and half of it after."""

    def __init__(self, stubs: wire.Stubs) -> None:
        self._go_on = threading.Event()
        self._answers = stubs.verification.StreamVerify(self._requests(), timeout=wire.DEADLINE_S)
        assert next(self._answers).WhichOneof("response") == "opened"

    def _requests(self) -> Iterator[pb.StreamVerifyRequest]:
        config = pb.VerificationConfig(
            speaker_id=ENROLLED, audio_format=wire.PCM16, samples_per_chunk=8000
        )
        yield pb.StreamVerifyRequest(config=config)
        yield pb.StreamVerifyRequest(audio=CALL[: len(CALL) // 2])
        self._go_on.wait(wire.DEADLINE_S)
        yield pb.StreamVerifyRequest(audio=CALL[len(CALL) // 2 :])

    def scores(self) -> list[float]:
        """End the call and give the score of every update and of the final."""
        self._go_on.set()
        *updates, last = self._answers
        results = [*(answer.update for answer in updates), last.final]
        return [result.scores[0].score.value for result in results]


def enrolled(stubs: wire.Stubs) -> list[enrollment_pb2.Speaker]:
    request = enrollment_pb2.ListSpeakersRequest(page_size=1000)
    return list(stubs.enrollment.ListSpeakers(request).speakers)


@pytest.mark.parametrize(
    ("rpc", "name"), [(rpc, name) for rpc, sender in RPCS.items() for name in sender.cases()]
)
def test_a_bad_call_ends_with_a_named_reason_and_harms_no_neighbour(
    stubs: wire.Stubs, alone: list[float], rpc: str, name: str
) -> None:
    case = CASES[name]
    neighbour, before = Neighbour(stubs), enrolled(stubs)
    try:
        with pytest.raises(grpc.RpcError) as failed:
            RPCS[rpc].send(stubs, case)
    finally:
        found = neighbour.scores()
    refusal = wire.refusal(failed.value)
    assert (refusal.code, refusal.reason) == (case.code, case.reason), refusal.message
    assert refusal.domain == "speakerd"
    assert refusal.fields == RPCS[rpc].fields(case)
    assert "Traceback" not in refusal.message
    assert enrolled(stubs) == before
    assert len(alone) > 2
    assert found == pytest.approx(alone, abs=TOLERANCE)


def test_the_neighbour_is_heard_as_who_it_is(alone: list[float]) -> None:
    assert alone[-1] > 0.5


SILENCES = {
    "digital silence": bytes(80_000),
    "a constant": (1000 * np.ones(40_000)).astype("<i2").tobytes(),
    "one repeated frame": pcm16(np.tile(noise(0.01), 250)),
}


@pytest.mark.parametrize("name", SILENCES)
def test_audio_without_variance_is_never_a_voice(daemon: Daemon, name: str) -> None:
    content = SILENCES[name]
    with wire.connected(daemon.address) as stubs:
        wire.enroll(stubs, "someone-with-a-voice", pcm16(noise(4.0)))
        requests = wire.stream_requests(
            pb.VerificationConfig(speaker_id="someone-with-a-voice", audio_format=wire.PCM16),
            wire.pieces(content),
        )
        final = list(stubs.verification.StreamVerify(requests))[-1].final
        assert final.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH
        assert final.window_count == 0
        assert not final.scores[0].HasField("score")
        silence = pb.Audio(format=wire.PCM16, content=content)
        compared = stubs.verification.Compare(pb.CompareRequest(first=silence, second=silence))
        assert compared.decision == audio_pb2.DECISION_NOT_ENOUGH_SPEECH
        assert not compared.scores
        for refused in (
            lambda: stubs.verification.Embed(pb.EmbedRequest(audio=silence)),
            lambda: wire.enroll(stubs, "nobody-at-all", content),
        ):
            with pytest.raises(grpc.RpcError) as failed:
                refused()
            assert wire.refusal(failed.value).reason == "AUDIO_WITHOUT_VOICE"


def test_unary_audio_beyond_ten_minutes_is_refused_by_name(daemon: Daemon) -> None:
    mulaw = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hz=8000)
    with wire.connected(daemon.address) as stubs:
        long = pb.Audio(format=mulaw, content=bytes(8000 * 600 + 1))
        with pytest.raises(grpc.RpcError) as failed:
            stubs.verification.Embed(pb.EmbedRequest(audio=long))
    assert wire.refusal(failed.value).reason == "AUDIO_TOO_LONG"


def test_an_unknown_claim_is_a_decision_and_no_error(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        requests = wire.stream_requests(
            pb.VerificationConfig(speaker_id="never-enrolled", audio_format=wire.PCM16),
            wire.pieces(SPEECHLIKE),
        )
        answers = list(stubs.verification.StreamVerify(requests))
    assert answers[-1].final.decision == audio_pb2.DECISION_SPEAKER_NOT_ENROLLED


def test_a_call_without_a_target_is_a_decision_and_no_error(daemon: Daemon) -> None:
    with wire.connected(daemon.address) as stubs:
        request = pb.VerifyRequest(
            config=pb.VerificationConfig(audio_format=wire.PCM16), audio=SPEECHLIKE
        )
        result = stubs.verification.Verify(request).result
    assert result.decision == audio_pb2.DECISION_SPEAKER_NOT_PROVIDED
