"""Bad input ends its own call with a named reason; the call beside it never notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.daemon import Daemon
from support.speech import noise, pcm16

INVALID = StatusCode.INVALID_ARGUMENT
FLOAT32 = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_FLOAT32LE, sample_rate_hz=16000)


def config(**fields: Any) -> pb.StreamVerifyRequest:
    defaults: dict[str, Any] = {"speaker_id": "nobody", "audio_format": wire.PCM16}
    return pb.StreamVerifyRequest(config=pb.VerificationConfig(**(defaults | fields)))


def audio(content: bytes) -> pb.StreamVerifyRequest:
    return pb.StreamVerifyRequest(audio=content)


def rate(sample_rate_hz: int) -> audio_pb2.AudioFormat:
    return audio_pb2.AudioFormat(
        encoding=audio_pb2.AUDIO_ENCODING_PCM16LE, sample_rate_hz=sample_rate_hz
    )


def floats(*values: float) -> bytes:
    samples = noise(0.5)
    samples[: len(values)] = values
    return samples.tobytes()


SPEECHLIKE = pcm16(noise(2.5))


@dataclass(frozen=True)
class Case:
    reason: str
    requests: list[pb.StreamVerifyRequest]
    code: StatusCode = INVALID
    fields: tuple[str, ...] = field(default=())


CASES = {
    "audio before the config": Case("CONFIG_MISSING", [audio(SPEECHLIKE)], fields=("config",)),
    "a second config": Case(
        "CONFIG_REPEATED", [config(), audio(SPEECHLIKE), config()], fields=("config",)
    ),
    "a message with nothing set": Case("REQUEST_EMPTY", [config(), pb.StreamVerifyRequest()]),
    "an empty first message": Case("REQUEST_EMPTY", [pb.StreamVerifyRequest()]),
    "an empty stream": Case("CONFIG_MISSING", [], fields=("config",)),
    "no audio": Case("NO_AUDIO", [config()], fields=("audio",)),
    "only empty audio": Case("NO_AUDIO", [config(), audio(b"")], fields=("audio",)),
    "under 25 ms": Case("AUDIO_TOO_SHORT", [config(), audio(bytes(798))], fields=("audio",)),
    "half a sample at the end": Case(
        "AUDIO_INCOMPLETE_SAMPLE", [config(), audio(SPEECHLIKE + b"\1")], fields=("audio",)
    ),
    "more than 1 MiB in one message": Case(
        "AUDIO_MESSAGE_TOO_LARGE", [config(), audio(bytes((1 << 20) + 1))], fields=("audio",)
    ),
    "no encoding": Case(
        "ENCODING_UNSUPPORTED",
        [config(audio_format=audio_pb2.AudioFormat(sample_rate_hz=16000))],
        fields=("audio_format.encoding",),
    ),
    "an unknown encoding": Case(
        "ENCODING_UNSUPPORTED",
        [config(audio_format=audio_pb2.AudioFormat(encoding=99, sample_rate_hz=16000))],  # type: ignore[arg-type]
        fields=("audio_format.encoding",),
    ),
    **{
        f"a rate of {hz}": Case(
            "SAMPLE_RATE_UNSUPPORTED",
            [config(audio_format=rate(hz))],
            fields=("audio_format.sample_rate_hz",),
        )
        for hz in (0, -1, 7999, 48001, 10**9)
    },
    "a NaN": Case(
        "AUDIO_NOT_FINITE",
        [config(audio_format=FLOAT32), audio(floats(0.1, float("nan")))],
        fields=("audio",),
    ),
    "an infinite float": Case(
        "AUDIO_NOT_FINITE",
        [config(audio_format=FLOAT32), audio(floats(float("-inf")))],
        fields=("audio",),
    ),
    "floats that are no audio": Case(
        "AUDIO_OUT_OF_RANGE",
        [config(audio_format=FLOAT32), audio(floats(1e30))],
        fields=("audio",),
    ),
    "an unknown model": Case(
        "MODEL_UNKNOWN", [config(model="nosuch")], StatusCode.NOT_FOUND, fields=("model",)
    ),
    "an unknown domain": Case(
        "DOMAIN_UNKNOWN", [config(domain="nosuch")], StatusCode.NOT_FOUND, fields=("domain",)
    ),
    **{
        f"the speaker id {speaker_id[:12]!r}": Case(
            "SPEAKER_ID_INVALID", [config(speaker_id=speaker_id)], fields=("speaker_id",)
        )
        for speaker_id in ("", "a/b", "a\nb", "\x00", "x" * 300, " a", "a\x7f")
    },
    "a list without speakers": Case(
        "FIELD_INVALID",
        [config(speaker_id=None, speakers=pb.SpeakerList())],
        fields=("speakers.speaker_ids",),
    ),
    "a speaker listed twice": Case(
        "FIELD_INVALID",
        [config(speaker_id=None, speakers=pb.SpeakerList(speaker_ids=["a", "a"]))],
        fields=("speakers.speaker_ids",),
    ),
    "too many best": Case(
        "FIELD_INVALID",
        [config(speaker_id=None, whole_domain=pb.WholeDomain(top_k=101))],
        fields=("whole_domain.top_k",),
    ),
    **{
        f"samples_per_chunk {value}": Case(
            "SAMPLES_PER_CHUNK_INVALID",
            [config(samples_per_chunk=value)],
            fields=("samples_per_chunk",),
        )
        for value in (0, -2, 1, 719, 2**31 - 1)
    },
    "a threshold without a scale": Case(
        "POLICY_INVALID", [config(policy=pb.Policy(accept_at=0.5))], fields=("policy.scale",)
    ),
    "a threshold outside of its scale": Case(
        "POLICY_INVALID",
        [config(policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_SIMILARITY, accept_at=1.5))],
        fields=("policy.accept_at",),
    ),
    "a threshold that is NaN": Case(
        "POLICY_INVALID",
        [config(policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=float("nan")))],
        fields=("policy.accept_at",),
    ),
    "a scale that needs a cohort": Case(
        "SCALE_UNAVAILABLE",
        [config(policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_ASNORM))],
        fields=("policy.scale",),
    ),
    "a negative update interval": Case(
        "FIELD_INVALID",
        [config(update_interval=Duration(seconds=-1))],
        fields=("update_interval",),
    ),
    "a long request id": Case(
        "FIELD_INVALID", [config(request_id="x" * 129)], fields=("request_id",)
    ),
    "whole signal beyond its limit": Case(
        "AUDIO_TOO_LONG",
        [config(samples_per_chunk=-1), *[audio(pcm16(noise(20.0)))] * 4],
        fields=("audio",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_streams_end_with_a_named_reason_and_harm_no_neighbour(
    daemon: Daemon, name: str
) -> None:
    case = CASES[name]
    with wire.connected(daemon.address) as stubs:
        neighbour = Neighbour(stubs)
        with pytest.raises(grpc.RpcError) as failed:
            list(stubs.verification.StreamVerify(iter(case.requests), timeout=wire.DEADLINE_S))
        refusal = wire.refusal(failed.value)
        assert (refusal.code, refusal.reason) == (case.code, case.reason), refusal.message
        assert refusal.domain == "speakerd"
        assert refusal.fields == case.fields
        assert "Traceback" not in refusal.message
        assert neighbour.final().window_count == 2


class Neighbour:
    """A good call, begun before the bad one and ended after it."""

    def __init__(self, stubs: wire.Stubs) -> None:
        self._call = stubs.verification.StreamVerify(self._requests(), timeout=wire.DEADLINE_S)
        assert next(self._call).WhichOneof("response") == "opened"
        self._release: Callable[[], None]

    def _requests(self) -> Iterator[pb.StreamVerifyRequest]:
        import threading

        go_on = threading.Event()
        self._release = go_on.set
        yield config()
        yield audio(SPEECHLIKE)
        go_on.wait(wire.DEADLINE_S)

    def final(self) -> pb.VerificationResult:
        """End the call and give its final."""
        self._release()
        return list(self._call)[-1].final


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
