"""From plain values to the messages of the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from speakerd.v1 import audio_pb2, enrollment_pb2, verification_pb2

from speakerd_client.audio import Audio, AudioFile, AudioFormat, OggOpus, StreamFormat
from speakerd_client.checks import require
from speakerd_client.errors import InvalidRequest
from speakerd_client.policies import Policy, QualityLimits
from speakerd_client.targets import Everyone, MembersOf, Target, Watchlists

WHOLE_RECORDING_S = 600
"""Longest recording that the daemon takes in one message."""
MESSAGE_LIMIT_BYTES = 64 * 1024 * 1024
"""Largest message that either side takes."""
_CONFIG_BYTES = 64 * 1024

Whole = Audio | AudioFile
"""What can be sent whole."""


@contextmanager
def sendable() -> Iterator[None]:
    """Turn values that no message can hold (a number too large, NaN) into InvalidRequest."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"a value of the request cannot be sent: {error}") from error


def check_whole(*recordings: Whole, advice: str) -> None:
    """Refuse what one message cannot carry, before it is made; `advice` says what to do instead.

    Raises:
        TypeError: A recording is neither Audio nor AudioFile.
        InvalidRequest: One is too long, or all together are too large.
    """
    for audio in recordings:
        wanted = "an Audio or AudioFile: read_audio(path), read_file(path)"
        require(audio, (Audio, AudioFile), "audio", wanted)
        if isinstance(audio, Audio) and audio.duration_s > WHOLE_RECORDING_S:
            raise InvalidRequest(
                f"the recording has {audio.duration_s:.1f} s; at most {WHOLE_RECORDING_S} s"
                f" (10 minutes) can be sent whole; {advice}",
                reason="AUDIO_TOO_LONG",
            )
    size_bytes = sum(len(audio.content) for audio in recordings)
    limit_bytes = MESSAGE_LIMIT_BYTES - _CONFIG_BYTES
    if size_bytes > limit_bytes:
        raise InvalidRequest(
            f"the audio has {size_bytes} bytes; one message holds at most {limit_bytes}; {advice}",
            reason="AUDIO_MESSAGE_TOO_LARGE",
        )


def duration(seconds: float | None) -> Duration | None:
    """Turn seconds into a Duration, to the nanosecond."""
    if seconds is None:
        return None
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message


def timestamp(value: datetime | None, name: str) -> Timestamp | None:
    """Turn an aware datetime into a Timestamp, to the microsecond."""
    if value is None:
        return None
    require(value, datetime, name, "a datetime with a time zone, or None")
    if value.tzinfo is None:
        raise ValueError(f"{name} has no time zone; use datetime.now(UTC), for example")
    message = Timestamp()
    message.FromDatetime(value)
    return message


def audio_format(value: StreamFormat) -> audio_pb2.AudioFormat:
    """Encoding, rate and channels."""
    wanted = "an AudioFormat, such as audio.format, or OggOpus()"
    require(value, (AudioFormat, OggOpus), "audio_format", wanted)
    if isinstance(value, OggOpus):
        opus = audio_pb2.AUDIO_ENCODING_OGG_OPUS
        return audio_pb2.AudioFormat(encoding=opus, channel=value.channel or 0)
    return audio_pb2.AudioFormat(
        encoding=audio_pb2.AudioEncoding.Value(f"AUDIO_ENCODING_{value.encoding.name}"),
        sample_rate_hz=value.sample_rate_hz,
        channels=value.channels,
        channel=value.channel or 0,
    )


def format_of(value: Whole) -> audio_pb2.AudioFormat:
    """How the bytes of a whole recording are to be read."""
    if isinstance(value, Audio):
        return audio_format(value.format)
    encoding = audio_pb2.AudioEncoding.Value(f"AUDIO_ENCODING_{value.container.name}")
    return audio_pb2.AudioFormat(encoding=encoding, channel=value.channel or 0)


def _format(value: StreamFormat | Whole) -> audio_pb2.AudioFormat:
    return format_of(value) if isinstance(value, Audio | AudioFile) else audio_format(value)


def audio_message(value: Whole) -> verification_pb2.Audio:
    """A whole recording."""
    return verification_pb2.Audio(format=format_of(value), content=value.content)


def compare_request(
    first: Whole,
    second: Whole,
    *,
    policy: Policy | None = None,
    request_id: str = "",
    model: str = "",
    samples_per_chunk: int | None = None,
    speech_gate: bool | None = None,
) -> verification_pb2.CompareRequest:
    """The request of Compare."""
    return verification_pb2.CompareRequest(
        first=audio_message(first),
        second=audio_message(second),
        policy=policy_message(policy),
        request_id=request_id,
        model=model,
        samples_per_chunk=samples_per_chunk,
        speech_gate=gate_message(speech_gate),
    )


def embed_request(
    audio: Whole,
    *,
    request_id: str = "",
    model: str = "",
    samples_per_chunk: int | None = None,
    speech_gate: bool | None = None,
) -> verification_pb2.EmbedRequest:
    """The request of Embed."""
    return verification_pb2.EmbedRequest(
        audio=audio_message(audio),
        request_id=request_id,
        model=model,
        samples_per_chunk=samples_per_chunk,
        speech_gate=gate_message(speech_gate),
    )


def gate_message(value: bool | None) -> audio_pb2.SpeechGate.ValueType:
    """Whether speech alone is heard; None: left to the daemon."""
    if value is None:
        return audio_pb2.SPEECH_GATE_UNSPECIFIED
    require(value, bool, "speech_gate", "True, False or None")
    return audio_pb2.SPEECH_GATE_ON if value else audio_pb2.SPEECH_GATE_OFF


def policy_message(value: Policy | None) -> verification_pb2.Policy | None:
    """A policy, unset fields left to the daemon."""
    if value is None:
        return None
    require(value, Policy, "policy", "a Policy or None")
    scale = "UNSPECIFIED" if value.scale is None else value.scale.name
    return verification_pb2.Policy(
        scale=audio_pb2.ScoreScale.Value(f"SCORE_SCALE_{scale}"),
        accept_at=value.accept_at,
        reject_below=value.reject_below,
        minimum_net_speech=duration(value.minimum_speech_s),
        maximum_net_speech=duration(value.maximum_speech_s),
        quality=limits_message(value.quality),
        handover=verification_pb2.HandoverPolicy(revoke=value.revoke_at_handover),
        sequential=None
        if value.sequential is None
        else verification_pb2.SequentialPolicy(
            target_far=value.sequential.target_far, target_frr=value.sequential.target_frr
        ),
        minimum_margin=value.minimum_margin,
    )


def limits_message(value: QualityLimits | None) -> audio_pb2.QualityPolicy | None:
    """How good audio must be, unset fields left to the daemon."""
    if value is None:
        return None
    require(value, QualityLimits, "quality", "QualityLimits or None")
    return audio_pb2.QualityPolicy(
        minimum_snr_db=value.minimum_snr_db,
        maximum_clipping_share=value.maximum_clipping_share,
        minimum_level_dbfs=value.minimum_level_dbfs,
    )


def verification_config(
    target: Target,
    wire_format: StreamFormat | Whole,
    *,
    request_id: str = "",
    domain: str = "",
    model: str = "",
    samples_per_chunk: int | None = None,
    speech_gate: bool | None = None,
    policy: Policy | None = None,
    update_interval_s: float | None = None,
    watchlists: Watchlists | None = None,
) -> verification_pb2.VerificationConfig:
    """The config of Verify and StreamVerify."""
    config = verification_pb2.VerificationConfig(
        request_id=request_id,
        domain=domain,
        audio_format=_format(wire_format),
        model=model,
        samples_per_chunk=samples_per_chunk,
        speech_gate=gate_message(speech_gate),
        policy=policy_message(policy),
        update_interval=duration(update_interval_s),
        watchlists=_watchlists(watchlists),
    )
    if isinstance(target, str):
        config.speaker_id = target
    elif isinstance(target, Everyone):
        config.whole_domain.top_k = target.top_k
        config.whole_domain.SetInParent()
    elif isinstance(target, MembersOf):
        config.group.group, config.group.top_k = target.group, target.top_k
        config.group.SetInParent()
    elif target is not None:
        config.speakers.speaker_ids.extend(target)
        config.speakers.SetInParent()
    return config


def _watchlists(value: Watchlists | None) -> verification_pb2.Watchlists | None:
    if value is None:
        return None
    require(value, Watchlists, "watchlists", 'Watchlists(("fraud",)), or None')
    return verification_pb2.Watchlists(groups=value.groups, hit_at=value.hit_at)


def enrollment_config(
    speaker_id: str,
    wire_format: StreamFormat | Whole,
    *,
    request_id: str = "",
    domain: str = "",
    model: str = "",
    samples_per_chunk: int | None = None,
    speech_gate: bool | None = None,
    display_name: str | None = None,
    minimum_speech_s: float | None = None,
    force: bool = False,
    check_duplicates: bool = False,
    quality: QualityLimits | None = None,
    consent: datetime | None = None,
) -> enrollment_pb2.EnrollmentConfig:
    """The config of EnrollSpeaker and StreamEnroll."""
    return enrollment_pb2.EnrollmentConfig(
        request_id=request_id,
        domain=domain,
        speaker_id=speaker_id,
        audio_format=_format(wire_format),
        model=model,
        samples_per_chunk=samples_per_chunk,
        speech_gate=gate_message(speech_gate),
        display_name=display_name,
        minimum_net_speech=duration(minimum_speech_s),
        force=force,
        check_duplicates=check_duplicates,
        quality=limits_message(quality),
        consent_time=timestamp(consent, "consent"),
    )
