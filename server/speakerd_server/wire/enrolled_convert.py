"""Who is enrolled, as protobuf messages."""

from __future__ import annotations

from speakerd.v1 import enrollment_pb2

from speakerd_server.enrolled import Group, Recording, Speaker
from speakerd_server.wire.convert import duration, duration_of_seconds, identity, timestamp
from speakerd_server.wire.quality_convert import wire_band, wire_quality


def recording(value: Recording) -> enrollment_pb2.Recording:
    """Give one stored recording."""
    return enrollment_pb2.Recording(
        recording_id=value.recording_id,
        create_time=timestamp(value.created_unix_s),
        net_speech=duration(value.speech_samples, value.sample_rate_hz),
        window_count=value.window_count,
        window_consistency=value.window_consistency,
        band=wire_band(value.band),
        quality=wire_quality(value.quality),
    )


def speaker(value: Speaker) -> enrollment_pb2.Speaker:
    """Give one person with all recordings."""
    message = enrollment_pb2.Speaker(
        speaker_id=value.speaker_id,
        domain=value.domain,
        state=enrollment_pb2.SpeakerState.Value(f"SPEAKER_STATE_{value.state.name}"),
        display_name=value.display_name,
        create_time=timestamp(value.created_unix_s),
        update_time=timestamp(value.updated_unix_s),
        recordings=[recording(one) for one in value.recordings],
        net_speech=duration_of_seconds(
            sum(one.speech_samples / one.sample_rate_hz for one in value.recordings)
        ),
    )
    if value.model is not None:
        message.model.CopyFrom(identity(value.model))
    message.groups.extend(value.groups)
    for unix_s, field in (
        (value.opted_out_unix_s, message.opt_out_time),
        (value.consent_unix_s, message.consent_time),
        (value.last_used_unix_s, message.last_used_time),
        (value.expires_unix_s, message.expire_time),
    ):
        if unix_s is not None:
            field.CopyFrom(timestamp(unix_s))
    return message


def group(value: Group) -> enrollment_pb2.Group:
    """Give one group with its members."""
    return enrollment_pb2.Group(
        name=value.name,
        domain=value.domain,
        speaker_ids=value.speaker_ids,
        member_count=value.member_count,
        create_time=timestamp(value.created_unix_s),
        update_time=timestamp(value.updated_unix_s),
    )
