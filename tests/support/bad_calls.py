"""What must be refused: calls without regard to the rpc, and how each rpc would carry them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from speakerd.v1 import audio_pb2, enrollment_pb2
from speakerd.v1 import verification_pb2 as pb
from support import wire
from support.speech import noise, pcm16

SPEECHLIKE = pcm16(noise(2.5))
FLOAT32 = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_FLOAT32LE, sample_rate_hz=16000)
NO_ENCODING = audio_pb2.AudioFormat(sample_rate_hz=16000)
UNKNOWN_ENCODING = audio_pb2.AudioFormat(encoding=99, sample_rate_hz=16000)  # type: ignore[arg-type]

Message = Mapping[str, Any] | bytes | None
"""Fields of a config, or audio, or a message with nothing set."""


@dataclass(frozen=True)
class Case:
    """A call and how it must end."""

    reason: str
    messages: Sequence[Message]
    fields: tuple[str, ...] = ()
    code: StatusCode = StatusCode.INVALID_ARGUMENT
    of_streams: bool = False
    """True where only messages of a stream can be wrong like this."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The fields of the first config."""
        configs = [message for message in self.messages if isinstance(message, Mapping)]
        return configs[0] if configs else {}


def config(**fields: Any) -> Mapping[str, Any]:
    """Give a config that is right but for these fields."""
    return {"speaker_id": "nobody", "audio_format": wire.PCM16} | fields


def _with_audio(reason: str, field: str, /, *audio: bytes, **fields: Any) -> Case:
    messages: list[Message] = [config(**fields), *(audio or (SPEECHLIKE,))]
    return Case(reason, messages, (field,))


def _not_found(reason: str, field: str) -> Case:
    messages: list[Message] = [config(**{field: "nosuch"}), SPEECHLIKE]
    return Case(reason, messages, (field,), StatusCode.NOT_FOUND)


def _rate(sample_rate_hz: int) -> audio_pb2.AudioFormat:
    return audio_pb2.AudioFormat(
        encoding=audio_pb2.AUDIO_ENCODING_PCM16LE, sample_rate_hz=sample_rate_hz
    )


def _floats(value: float) -> bytes:
    samples = noise(0.5)
    samples[0] = value
    return samples.tobytes()


GRAMMAR = {
    "audio before the config": Case("CONFIG_MISSING", [SPEECHLIKE], ("config",)),
    "a second config": Case("CONFIG_REPEATED", [config(), SPEECHLIKE, config()], ("config",)),
    "a message with nothing set": Case("REQUEST_EMPTY", [config(), None]),
    "an empty first message": Case("REQUEST_EMPTY", [None]),
    "an empty stream": Case("CONFIG_MISSING", [], ("config",)),
}
AUDIO = {
    "no audio": Case("NO_AUDIO", [config()], ("audio",)),
    "only empty audio": _with_audio("NO_AUDIO", "audio", b""),
    "under 25 ms": _with_audio("AUDIO_TOO_SHORT", "audio", bytes(798)),
    "half a sample at the end": _with_audio("AUDIO_INCOMPLETE_SAMPLE", "audio", SPEECHLIKE + b"\1"),
    "more than 1 MiB in one message": Case(
        "AUDIO_MESSAGE_TOO_LARGE", [config(), bytes((1 << 20) + 1)], ("audio",), of_streams=True
    ),
    "whole signal beyond its limit": _with_audio(
        "AUDIO_TOO_LONG", "audio", *[pcm16(noise(20.0))] * 4, samples_per_chunk=-1
    ),
    **{
        f"the float {value}": _with_audio(reason, "audio", _floats(value), audio_format=FLOAT32)
        for value, reason in (
            (float("nan"), "AUDIO_NOT_FINITE"),
            (float("-inf"), "AUDIO_NOT_FINITE"),
            (1e30, "AUDIO_OUT_OF_RANGE"),
        )
    },
}
FORMAT = {
    **{
        name: _with_audio("ENCODING_UNSUPPORTED", "audio_format.encoding", audio_format=wrong)
        for name, wrong in (("no encoding", NO_ENCODING), ("an unknown one", UNKNOWN_ENCODING))
    },
    **{
        f"a rate of {hz}": _with_audio(
            "SAMPLE_RATE_UNSUPPORTED", "audio_format.sample_rate_hz", audio_format=_rate(hz)
        )
        for hz in (0, -1, 7999, 48001, 10**9)
    },
}
NAMES = {
    "an unknown model": _not_found("MODEL_UNKNOWN", "model"),
    "an unknown domain": _not_found("DOMAIN_UNKNOWN", "domain"),
    **{
        f"the speaker id {speaker_id[:12]!r}": _with_audio(
            "SPEAKER_ID_INVALID", "speaker_id", speaker_id=speaker_id
        )
        for speaker_id in ("", "a/b", "a\nb", "\x00", "x" * 300, " a", "a\x7f")
    },
    "a long request id": _with_audio("FIELD_INVALID", "request_id", request_id="x" * 129),
}
NUMBERS = {
    f"samples_per_chunk {value}": _with_audio(
        "SAMPLES_PER_CHUNK_INVALID", "samples_per_chunk", samples_per_chunk=value
    )
    for value in (0, -2, 1, 719, 2**31 - 1)
}
VERIFYING = {
    "a list without speakers": _with_audio(
        "FIELD_INVALID", "speakers.speaker_ids", speaker_id=None, speakers=pb.SpeakerList()
    ),
    "a speaker listed twice": _with_audio(
        "FIELD_INVALID",
        "speakers.speaker_ids",
        speaker_id=None,
        speakers=pb.SpeakerList(speaker_ids=["a", "a"]),
    ),
    "too many best": _with_audio(
        "FIELD_INVALID",
        "whole_domain.top_k",
        speaker_id=None,
        whole_domain=pb.WholeDomain(top_k=101),
    ),
    "a threshold without a scale": _with_audio(
        "POLICY_INVALID", "policy.scale", policy=pb.Policy(accept_at=0.5)
    ),
    "a threshold outside of its scale": _with_audio(
        "POLICY_INVALID",
        "policy.accept_at",
        policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_SIMILARITY, accept_at=1.5),
    ),
    "a threshold that is NaN": _with_audio(
        "POLICY_INVALID",
        "policy.accept_at",
        policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_COSINE, accept_at=float("nan")),
    ),
    "a negative margin": _with_audio(
        "POLICY_INVALID",
        "policy.minimum_margin",
        speaker_id=None,
        whole_domain=pb.WholeDomain(),
        policy=pb.Policy(minimum_margin=-0.1),
    ),
    "a margin without a search": _with_audio(
        "POLICY_INVALID", "policy.minimum_margin", policy=pb.Policy(minimum_margin=0.1)
    ),
    "a threshold that is no number": _with_audio(
        "POLICY_INVALID",
        "policy.accept_at",
        policy=pb.Policy(scale=audio_pb2.SCORE_SCALE_ASNORM, accept_at=math.nan),
    ),
    "a negative update interval": _with_audio(
        "FIELD_INVALID", "update_interval", update_interval=Duration(seconds=-1)
    ),
}
ENROLLING = {
    "a long display name": _with_audio("FIELD_INVALID", "display_name", display_name="x" * 257),
    "a negative minimum of speech": _with_audio(
        "FIELD_INVALID", "minimum_net_speech", minimum_net_speech=Duration(seconds=-1)
    ),
    "less speech than is needed": Case(
        "NOT_ENOUGH_SPEECH",
        [config(minimum_net_speech=Duration(seconds=3)), SPEECHLIKE],
        ("audio",),
        StatusCode.FAILED_PRECONDITION,
    ),
}
CASES: Mapping[str, Case] = GRAMMAR | AUDIO | FORMAT | NAMES | NUMBERS | VERIFYING | ENROLLING


def _stream_verify(case: Case) -> Iterator[pb.StreamVerifyRequest]:
    for message in case.messages:
        if isinstance(message, Mapping):
            yield pb.StreamVerifyRequest(config=pb.VerificationConfig(**message))
        elif message is None:
            yield pb.StreamVerifyRequest()
        else:
            yield pb.StreamVerifyRequest(audio=message)


def _stream_enroll(case: Case) -> Iterator[enrollment_pb2.StreamEnrollRequest]:
    for message in case.messages:
        if isinstance(message, Mapping):
            recorded = enrollment_pb2.EnrollmentConfig(**message)
            yield enrollment_pb2.StreamEnrollRequest(config=recorded)
        elif message is None:
            yield enrollment_pb2.StreamEnrollRequest()
        else:
            yield enrollment_pb2.StreamEnrollRequest(audio=message)


def _audio_of(case: Case) -> bytes:
    return b"".join(message for message in case.messages if isinstance(message, bytes))


def _verify(case: Case) -> pb.VerifyRequest:
    return pb.VerifyRequest(config=pb.VerificationConfig(**case.config), audio=_audio_of(case))


def _enroll(case: Case) -> enrollment_pb2.EnrollSpeakerRequest:
    recorded = enrollment_pb2.EnrollmentConfig(**case.config)
    return enrollment_pb2.EnrollSpeakerRequest(config=recorded, audio=_audio_of(case))


def _embed(case: Case) -> pb.EmbedRequest:
    fields = {name: value for name, value in case.config.items() if name in _EMBED_FIELDS}
    audio = pb.Audio(format=case.config["audio_format"], content=_audio_of(case))
    return pb.EmbedRequest(audio=audio, **fields)


_EMBED_FIELDS = ("request_id", "model", "samples_per_chunk")
_EMBED_NAMES = {
    "audio": "audio.content",
    "audio_format.encoding": "audio.format.encoding",
    "audio_format.sample_rate_hz": "audio.format.sample_rate_hz",
}
_RIGHT = config()


def _fits(case: Case, descriptor: Descriptor, *, is_stream: bool) -> bool:
    """Tell whether an rpc with such a config can carry what is wrong in a call."""
    if not is_stream and (case.of_streams or case in GRAMMAR.values()):
        return False
    names = {name for name, value in case.config.items() if value != _RIGHT.get(name)}
    if descriptor is pb.EmbedRequest.DESCRIPTOR:
        names.discard("audio_format")
    return names <= set(descriptor.fields_by_name)


@dataclass(frozen=True)
class Rpc:
    """One way to send a call."""

    config: Descriptor
    is_stream: bool
    send: Callable[[wire.Stubs, Case], object]

    def fields(self, case: Case) -> tuple[str, ...]:
        """Name the wrong fields as this rpc's request does."""
        if self.config is not pb.EmbedRequest.DESCRIPTOR:
            return case.fields
        return tuple(_EMBED_NAMES.get(field, field) for field in case.fields)

    def cases(self) -> list[str]:
        """Name the calls that this rpc can carry."""
        return [
            name
            for name, case in CASES.items()
            if _fits(case, self.config, is_stream=self.is_stream)
        ]


VERIFICATION = pb.VerificationConfig.DESCRIPTOR
ENROLLMENT = enrollment_pb2.EnrollmentConfig.DESCRIPTOR
RPCS = {
    "StreamVerify": Rpc(
        VERIFICATION,
        True,
        lambda stubs, case: list(stubs.verification.StreamVerify(_stream_verify(case))),
    ),
    "StreamEnroll": Rpc(
        ENROLLMENT,
        True,
        lambda stubs, case: list(stubs.enrollment.StreamEnroll(_stream_enroll(case))),
    ),
    "Verify": Rpc(
        VERIFICATION, False, lambda stubs, case: stubs.verification.Verify(_verify(case))
    ),
    "EnrollSpeaker": Rpc(
        ENROLLMENT, False, lambda stubs, case: stubs.enrollment.EnrollSpeaker(_enroll(case))
    ),
    "Embed": Rpc(
        pb.EmbedRequest.DESCRIPTOR,
        False,
        lambda stubs, case: stubs.verification.Embed(_embed(case)),
    ),
}
