"""What is known of a call, as messages."""

from __future__ import annotations

from collections.abc import Mapping

from speakerd.v1 import audio_pb2, verification_pb2

from speakerd_server import values
from speakerd_server.pipeline import Heard
from speakerd_server.values import ScoreScale
from speakerd_server.wire import convert
from speakerd_server.wire.quality_convert import wire_band, wire_quality


def all_scores(by_scale: Mapping[ScoreScale, float]) -> list[audio_pb2.Score]:
    """Give one comparison's scores, in the order of the scales."""
    return [convert.score(by_scale[scale], scale) for scale in ScoreScale if scale in by_scale]


def result(
    heard: Heard,
    verdict: values.Verdict,
    scale: ScoreScale,
    *,
    model_rate_hz: int,
    wire_rate_hz: int,
) -> verification_pb2.VerificationResult:
    """Give what is known at one moment of a call."""
    utterance = heard.utterance
    return verification_pb2.VerificationResult(
        audio_received=convert.duration(heard.received_samples, wire_rate_hz),
        net_speech=convert.duration(utterance.speech_samples, model_rate_hz),
        window_count=utterance.window_count,
        windows_without_variance=utterance.windows_without_variance,
        committed_samples=utterance.committed_samples,
        scores=[_speaker_score(one, scale) for one in verdict.scores],
        decision=convert.decision(verdict.decision),
        reason=verdict.reason,
        speakers_compared=verdict.speakers_compared,
        band=wire_band(utterance.band),
        quality=wire_quality(utterance.quality),
        handover=_handover(utterance.handover, model_rate_hz),
        margin=verdict.margin,
    )


def _handover(value: values.Handover | None, rate_hz: int) -> verification_pb2.Handover | None:
    if value is None:
        return None
    return verification_pb2.Handover(
        score=convert.score(value.cosine, ScoreScale.COSINE),
        window=value.window,
        audio_time=convert.duration(value.begins_at_samples, rate_hz),
    )


def _speaker_score(value: values.SpeakerScore, scale: ScoreScale) -> verification_pb2.SpeakerScore:
    message = verification_pb2.SpeakerScore(
        speaker_id=value.speaker_id, decision=convert.decision(value.decision)
    )
    message.bands = value.bands
    if value.score is not None:
        message.score.CopyFrom(convert.score(value.score, scale))
    message.all_scores.extend(all_scores(value.all_scores))
    message.profile = value.profile
    if value.thresholds is not None:
        message.accept_at = value.thresholds.accept_at
        message.reject_below = value.thresholds.reject_below
    return message
