"""From the messages of the contract to plain values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from speakerd.v1 import audio_pb2, enrollment_pb2, verification_pb2

from speakerd_client import policies, records, results


def seconds(message: Duration) -> float:
    """Float seconds of a Duration."""
    return message.ToNanoseconds() / 1e9


def moment(message: Timestamp) -> datetime:
    """Aware datetime in UTC."""
    return message.ToDatetime(tzinfo=UTC)


def decision(value: int) -> results.Decision:
    """A number newer than our contract is OTHER, and so for the three below."""
    return results.Decision[name_of(audio_pb2.Decision.items(), value, "DECISION_")]


def scale(value: int) -> policies.ScoreScale:
    """Kind of a score."""
    return policies.ScoreScale[name_of(audio_pb2.ScoreScale.items(), value, "SCORE_SCALE_")]


def state(value: int) -> records.SpeakerState:
    """Where a speaker stands."""
    items = enrollment_pb2.SpeakerState.items()
    return records.SpeakerState[name_of(items, value, "SPEAKER_STATE_")]


def feedback(value: int) -> records.EnrollFeedback:
    """What a person who enrols should do."""
    items = enrollment_pb2.EnrollFeedback.items()
    return records.EnrollFeedback[name_of(items, value, "ENROLL_FEEDBACK_")]


def model_identity(message: audio_pb2.ModelIdentity) -> results.ModelIdentity:
    """Name, version and front end."""
    return results.ModelIdentity(message.name, message.version, message.front_end)


def score(message: audio_pb2.Score) -> results.Score:
    """A number with its scale."""
    return results.Score(scale(message.scale), message.value)


def policy(message: verification_pb2.Policy) -> policies.Policy:
    """The policy that was used."""
    return policies.Policy(
        scale=scale(message.scale),
        accept_at=message.accept_at if message.HasField("accept_at") else None,
        reject_below=message.reject_below if message.HasField("reject_below") else None,
        minimum_speech_s=seconds(message.minimum_net_speech)
        if message.HasField("minimum_net_speech")
        else None,
        maximum_speech_s=seconds(message.maximum_net_speech)
        if message.HasField("maximum_net_speech")
        else None,
        quality=policies.QualityLimits(
            message.quality.minimum_snr_db,
            message.quality.maximum_clipping_share,
            message.quality.minimum_level_dbfs,
        )
        if message.HasField("quality")
        else None,
        revoke_at_handover=message.handover.revoke,
        sequential=policies.SequentialPolicy(
            message.sequential.target_far, message.sequential.target_frr
        )
        if message.HasField("sequential")
        else None,
        minimum_margin=message.minimum_margin if message.HasField("minimum_margin") else None,
    )


def band(value: int) -> results.Band | None:
    """How much of the spectrum audio carries."""
    if value == audio_pb2.BAND_UNSPECIFIED:
        return None
    return results.Band[name_of(audio_pb2.Band.items(), value, "BAND_")]


def quality(message: audio_pb2.AudioQuality) -> results.Quality | None:
    """How good audio is; None: not known."""
    if not message.HasField("level_dbfs"):
        return None
    snr_db = message.snr_db if message.HasField("snr_db") else None
    return results.Quality(snr_db, message.clipping_share, message.level_dbfs)


def call_settings(message: verification_pb2.EffectiveSettings) -> results.CallSettings:
    """What a verification runs with."""
    return results.CallSettings(
        request_id=message.request_id,
        domain=message.domain,
        model=model_identity(message.model),
        samples_per_chunk=message.samples_per_chunk,
        model_sample_rate_hz=message.model_sample_rate_hz,
        policy=policy(message.policy),
        update_interval_s=seconds(message.update_interval),
        speech_gate=message.speech_gate == audio_pb2.SPEECH_GATE_ON,
    )


def verification(
    message: verification_pb2.VerificationResult, settings: results.CallSettings, is_final: bool
) -> results.Verification:
    """An update or the final of a verification."""
    return results.Verification(
        is_final=is_final,
        decision=decision(message.decision),
        reason=message.reason,
        scores=tuple(
            results.SpeakerScore(
                speaker_id=each.speaker_id,
                score=each.score.value if each.HasField("score") else None,
                scale=scale(each.score.scale) if each.HasField("score") else None,
                decision=decision(each.decision),
                bands=each.bands,
                accept_at=each.accept_at if each.HasField("accept_at") else None,
                reject_below=each.reject_below if each.HasField("reject_below") else None,
                all_scores=tuple(score(one) for one in each.all_scores),
                profile=each.profile,
            )
            for each in message.scores
        ),
        audio_received_s=seconds(message.audio_received),
        net_speech_s=seconds(message.net_speech),
        window_count=message.window_count,
        windows_without_variance=message.windows_without_variance,
        committed_samples=message.committed_samples,
        speakers_compared=message.speakers_compared,
        band=band(message.band),
        quality=quality(message.quality),
        handover=results.Handover(
            message.handover.score.value,
            message.handover.window,
            seconds(message.handover.audio_time),
        )
        if message.HasField("handover")
        else None,
        margin=message.margin if message.HasField("margin") else None,
        watchlist_hits=tuple(watchlist_hit(each) for each in message.watchlist_hits),
        settings=settings,
    )


def watchlist_hit(message: verification_pb2.WatchlistHit) -> results.WatchlistHit:
    """One member of a watchlist who was noticed."""
    return results.WatchlistHit(
        group=message.group,
        speaker_id=message.speaker_id,
        score=message.score.value,
        scale=scale(message.score.scale),
        hit_at=message.hit_at,
        window=message.window,
        audio_time_s=seconds(message.audio_time),
    )


def caller_enrolled(message: verification_pb2.CallerEnrolled) -> results.CallerEnrolled:
    """A caller who was enrolled from the call itself."""
    return results.CallerEnrolled(
        group=message.group,
        speaker_id=message.speaker_id,
        recording_id=message.recording_id,
        net_speech_s=seconds(message.net_speech),
    )


def comparison(message: verification_pb2.CompareResponse) -> results.Comparison:
    """How alike two recordings are."""
    return results.Comparison(
        request_id=message.request_id,
        scores=tuple(score(each) for each in message.scores),
        decision=decision(message.decision),
        reason=message.reason,
        policy=policy(message.policy),
        model=model_identity(message.model),
    )


def embedding(message: verification_pb2.EmbedResponse) -> results.Embedding:
    """The embedding of one recording."""
    return results.Embedding(
        request_id=message.request_id,
        vector=tuple(message.embedding),
        window_count=message.window_count,
        windows_without_variance=message.windows_without_variance,
        net_speech_s=seconds(message.net_speech),
        band=band(message.band),
        quality=quality(message.quality),
        model=model_identity(message.model),
    )


def speaker(message: enrollment_pb2.Speaker) -> records.Speaker:
    """One person of a domain."""
    return records.Speaker(
        speaker_id=message.speaker_id,
        domain=message.domain,
        state=state(message.state),
        display_name=message.display_name,
        created=moment(message.create_time),
        updated=moment(message.update_time),
        model=model_identity(message.model) if message.HasField("model") else None,
        recordings=tuple(
            records.Recording(
                recording_id=each.recording_id,
                created=moment(each.create_time),
                net_speech_s=seconds(each.net_speech),
                window_count=each.window_count,
                window_consistency=each.window_consistency,
                band=band(each.band),
                quality=quality(each.quality) if each.HasField("quality") else None,
            )
            for each in message.recordings
        ),
        net_speech_s=seconds(message.net_speech),
        opted_out=moment(message.opt_out_time) if message.HasField("opt_out_time") else None,
        groups=tuple(message.groups),
        consent=moment(message.consent_time) if message.HasField("consent_time") else None,
        last_used=moment(message.last_used_time) if message.HasField("last_used_time") else None,
        expires=moment(message.expire_time) if message.HasField("expire_time") else None,
    )


def enrollment_settings(message: enrollment_pb2.EnrollmentSettings) -> records.EnrollmentSettings:
    """What an enrolment runs with."""
    return records.EnrollmentSettings(
        request_id=message.request_id,
        domain=message.domain,
        model=model_identity(message.model),
        samples_per_chunk=message.samples_per_chunk,
        minimum_speech_s=seconds(message.minimum_net_speech),
        speech_gate=message.speech_gate == audio_pb2.SPEECH_GATE_ON,
    )


def enrollment_progress(message: enrollment_pb2.EnrollmentProgress) -> records.EnrollmentProgress:
    """How far an enrolment is."""
    return records.EnrollmentProgress(
        percent=message.percent,
        still_needed_s=seconds(message.still_needed),
        feedback=feedback(message.feedback),
        net_speech_s=seconds(message.net_speech),
        window_count=message.window_count,
        window_consistency=message.window_consistency,
        recording_consistency=message.recording_consistency
        if message.HasField("recording_consistency")
        else None,
        band=band(message.band),
        quality=quality(message.quality),
        reason=message.reason,
    )


def enrollment(
    message: enrollment_pb2.EnrollmentResult, settings: records.EnrollmentSettings
) -> records.Enrollment:
    """What was stored."""
    consistency = message.recording_consistency
    return records.Enrollment(
        speaker=speaker(message.speaker),
        recording_id=message.recording_id,
        recording_consistency=consistency if message.HasField("recording_consistency") else None,
        feedback=feedback(message.feedback),
        reason=message.reason,
        duplicates=tuple(
            records.Duplicate(each.speaker_id, each.cosine) for each in message.duplicates
        ),
        settings=settings,
    )


def name_of(items: Sequence[tuple[str, int]], value: int, prefix: str) -> str:
    """Name of our member for a number on the wire; OTHER where it is newer than our contract."""
    names = {number: name.removeprefix(prefix) for name, number in items if number > 0}
    return names.get(value, "OTHER")
