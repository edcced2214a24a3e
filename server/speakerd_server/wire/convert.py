"""Protobuf messages to values and back; refuses what no field may hold."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from speakerd.v1 import audio_pb2, verification_pb2

from speakerd_server import values
from speakerd_server.audio.containers import Container, ContainerFormat
from speakerd_server.audio.decode import check_format
from speakerd_server.calls.claims import DEFAULT_TOP_K, Target
from speakerd_server.cards import Card
from speakerd_server.errors import (
    ChannelsUnsupported,
    ChannelUnknown,
    EncodingUnsupported,
    FieldInvalid,
    PolicyInvalid,
)
from speakerd_server.policies import policy_for
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.values import (
    AudioFormat,
    Encoding,
    OggOpus,
    Policy,
    ScoreScale,
)
from speakerd_server.wire.quality_convert import wire_limits

ENCODINGS = {
    audio_pb2.AUDIO_ENCODING_PCM16LE: Encoding.PCM16LE,
    audio_pb2.AUDIO_ENCODING_FLOAT32LE: Encoding.FLOAT32LE,
    audio_pb2.AUDIO_ENCODING_MULAW: Encoding.MULAW,
    audio_pb2.AUDIO_ENCODING_ALAW: Encoding.ALAW,
}
CONTAINERS = {
    audio_pb2.AUDIO_ENCODING_WAV: Container.WAV,
    audio_pb2.AUDIO_ENCODING_FLAC: Container.FLAC,
    audio_pb2.AUDIO_ENCODING_OGG_OPUS: Container.OGG_OPUS,
}
SCALES = {
    audio_pb2.SCORE_SCALE_COSINE: ScoreScale.COSINE,
    audio_pb2.SCORE_SCALE_SIMILARITY: ScoreScale.SIMILARITY,
    audio_pb2.SCORE_SCALE_ASNORM: ScoreScale.ASNORM,
    audio_pb2.SCORE_SCALE_LLR: ScoreScale.LLR,
}
CLOCKS_APART_S = 300.0
WIRE_SCALES = {scale: number for number, scale in SCALES.items()}


def seconds(duration: Duration, field: str, lowest: float, highest: float) -> float:
    """Give a duration in seconds; raises FieldInvalid outside [lowest, highest]."""
    value = duration.seconds + duration.nanos * 1e-9
    if not lowest <= value <= highest:
        raise FieldInvalid(field, f"{value:g} s is not between {lowest:g} and {highest:g} s")
    return value


def duration(samples: int, rate_hz: int) -> Duration:
    """Give a number of samples as time."""
    whole, rest = divmod(samples, rate_hz)
    return Duration(seconds=whole, nanos=rest * 1_000_000_000 // rate_hz)


def duration_of_seconds(value_s: float) -> Duration:
    """Give seconds as a message."""
    result = Duration()
    result.FromNanoseconds(round(value_s * 1e9))
    return result


def consent(message: Timestamp, now_unix_s: float) -> float:
    """Read when a person agreed, seconds since 1970 UTC; raises FieldInvalid.

    A clock may be 5 minutes ahead of ours.
    """
    unix_s = message.seconds + message.nanos * 1e-9
    if not 0.0 < unix_s <= now_unix_s + CLOCKS_APART_S or not 0 <= message.nanos < 10**9:
        problem = f"{unix_s:.0f} s since 1970 is not a time between 1970 and now"
        raise FieldInvalid("consent_time", problem)
    return unix_s


def timestamp(unix_s: float) -> Timestamp:
    """Give a time as a message."""
    result = Timestamp()
    result.FromNanoseconds(round(unix_s * 1e9))
    return result


def audio_format(message: audio_pb2.AudioFormat) -> AudioFormat:
    """Read the format of samples, or of a stream that says itself what is in it.

    Raises EncodingUnsupported, SampleRateUnsupported, ChannelsUnsupported, ChannelUnknown and
    FieldInvalid.
    """
    if message.encoding == audio_pb2.AUDIO_ENCODING_OGG_OPUS:
        return _opus(message)
    encoding = ENCODINGS.get(message.encoding)
    if encoding is None:
        known = [*(e.name for e in Encoding), Container.OGG_OPUS.name]
        given: object = "UNSPECIFIED" if message.encoding == 0 else message.encoding
        if message.encoding in CONTAINERS:
            given = f"{CONTAINERS[message.encoding].name} in a stream"
        raise EncodingUnsupported(given, known)
    channels, channel = message.channels or 1, message.channel
    if channels not in (1, 2):
        raise ChannelsUnsupported(channels)
    if not (1 if channels == 2 else 0) <= channel <= channels:
        raise ChannelUnknown(channel, channels)
    result = AudioFormat(encoding, message.sample_rate_hz, channels, channel or 1)
    check_format(result)
    return result


def _opus(message: audio_pb2.AudioFormat) -> OggOpus:
    if message.sample_rate_hz:
        problem = "is said by the stream itself; leave it unset"
        raise FieldInvalid("audio_format.sample_rate_hz", problem)
    if not 0 <= message.channels <= 2:
        raise ChannelsUnsupported(message.channels)
    if not 0 <= message.channel <= (message.channels or 2):
        raise ChannelUnknown(message.channel, message.channels or 2)
    return OggOpus(channels=message.channels, channel=message.channel)


def container_format(message: audio_pb2.AudioFormat) -> ContainerFormat | None:
    """Read what is said of a file; None: the format is one of samples.

    Raises SampleRateUnsupported, ChannelsUnsupported and ChannelUnknown for what no file can have.
    """
    container = CONTAINERS.get(message.encoding)
    if container is None:
        return None
    if not 0 <= message.channels <= 2:
        raise ChannelsUnsupported(message.channels)
    if not 0 <= message.channel <= 2:
        raise ChannelUnknown(message.channel, message.channels or 2)
    if message.sample_rate_hz:
        check_format(AudioFormat(Encoding.PCM16LE, message.sample_rate_hz))
    return ContainerFormat(container, message.sample_rate_hz, message.channels, message.channel)


def speech_gate(message: audio_pb2.SpeechGate.ValueType) -> bool | None:
    """Read whether speech alone is heard; None: unset. Raises FieldInvalid."""
    match message:
        case audio_pb2.SPEECH_GATE_UNSPECIFIED:
            return None
        case audio_pb2.SPEECH_GATE_ON:
            return True
        case audio_pb2.SPEECH_GATE_OFF:
            return False
    raise FieldInvalid("speech_gate", f"{message} is none; use ON or OFF, or leave it unset")


def wire_gate(gated: bool) -> audio_pb2.SpeechGate.ValueType:
    """Give whether speech alone is heard."""
    return audio_pb2.SPEECH_GATE_ON if gated else audio_pb2.SPEECH_GATE_OFF


def target(config: verification_pb2.VerificationConfig) -> Target:
    """Read whom the voice may be."""
    match config.WhichOneof("target"):
        case "speaker_id":
            return Target(speaker_ids=(config.speaker_id,))
        case "speakers":
            if not config.speakers.speaker_ids:
                raise FieldInvalid("speakers.speaker_ids", "is empty; name at least one speaker")
            return Target(speaker_ids=tuple(config.speakers.speaker_ids))
        case "whole_domain":
            return Target(top_k=config.whole_domain.top_k or DEFAULT_TOP_K)
        case "group":
            return Target(top_k=config.group.top_k or DEFAULT_TOP_K, group=config.group.group)
    return Target()


def policy(message: verification_pb2.Policy, card: Card) -> Policy:
    """Read a policy and fill it up from the card; raises PolicyInvalid or ScaleUnavailable."""
    scale = SCALES.get(message.scale)
    if scale is None and message.scale != audio_pb2.SCORE_SCALE_UNSPECIFIED:
        raise PolicyInvalid("scale", f"{message.scale} is not a score scale")
    rates = None
    if message.HasField("sequential"):
        rates = (message.sequential.target_far, message.sequential.target_frr)
    filled = policy_for(
        card,
        scale=scale,
        accept_at=message.accept_at if message.HasField("accept_at") else None,
        reject_below=message.reject_below if message.HasField("reject_below") else None,
        minimum_speech_s=_optional_seconds(message, "minimum_net_speech", 1.0) or 0.0,
        maximum_speech_s=_optional_seconds(message, "maximum_net_speech", None),
        revoke_at_handover=message.handover.revoke,
        sequential=rates,
    )
    return replace(filled, minimum_margin=message.minimum_margin)


def _optional_seconds(
    message: verification_pb2.Policy, field: str, default_s: float | None
) -> float | None:
    if not message.HasField(field):  # type: ignore[arg-type]
        return default_s
    value: Duration = getattr(message, field)
    return value.seconds + value.nanos * 1e-9


def wire_policy(value: Policy, rate_hz: int, limits: QualitySettings) -> verification_pb2.Policy:
    """Give the policy that was used."""
    message = verification_pb2.Policy(
        scale=WIRE_SCALES[value.scale],
        minimum_net_speech=duration(value.minimum_speech_samples, rate_hz),
        handover=verification_pb2.HandoverPolicy(revoke=value.revoke_at_handover),
        quality=wire_limits(limits),
        minimum_margin=value.minimum_margin,
    )
    if value.sequential is None:
        message.accept_at, message.reject_below = value.accept_at, value.reject_below
    else:
        message.sequential.target_far, message.sequential.target_frr = value.sequential
    if value.maximum_speech_samples is not None:
        message.maximum_net_speech.CopyFrom(duration(value.maximum_speech_samples, rate_hz))
    return message


def identity(value: values.ModelIdentity) -> audio_pb2.ModelIdentity:
    """Give a model's identity."""
    return audio_pb2.ModelIdentity(
        name=value.name, version=value.version, front_end=value.front_end
    )


def score(value: float, scale: ScoreScale) -> audio_pb2.Score:
    """Give a score with its scale."""
    return audio_pb2.Score(scale=WIRE_SCALES[scale], value=value)


def decision(value: values.Decision) -> audio_pb2.Decision.ValueType:
    """Give a decision; the names are the wire's."""
    return audio_pb2.Decision.Value(f"DECISION_{value.name}")
