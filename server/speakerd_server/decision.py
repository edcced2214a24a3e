"""Room 5: scores and net speech in; accept, reject or something better named, and why, out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from speakerd_server.sequential import SequentialDecision, Settled
from speakerd_server.values import (
    Band,
    Decision,
    Handover,
    Policy,
    ScoreScale,
    SpeakerScore,
    SpeakerState,
    Thresholds,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the store and the audio say of one speaker."""

    speaker_id: str
    """As claimed or found."""
    cosine: float | None
    """In [-1, 1]; None where there was nothing to compare."""
    state: SpeakerState | None
    """None: the domain knows no such speaker."""
    bands: str = ""
    """Of enrolment and call; empty: not known."""
    scores: Mapping[ScoreScale, float] = field(default_factory=dict)
    """On every scale that it has a score on; of cosine and similarity `cosine` alone tells."""
    profile: str = ""
    """Of the calibration for these bands; empty: there is none."""

    def on(self, scale: ScoreScale) -> float | None:
        """Give the score on a scale; None: there is none."""
        alone = None if self.cosine is None else scale.of_cosine(self.cosine)
        return self.scores.get(scale, alone)


@dataclass(frozen=True, slots=True)
class _Heard:
    """What every speaker of one verdict has in common."""

    policy: Policy
    speech_samples: int
    window_count: int
    sample_rate_hz: int
    speakers_compared: int
    poor: str = ""
    sequential: SequentialDecision | None = None

    def seconds(self, samples: int) -> str:
        return f"{samples / self.sample_rate_hz:.2f} s"


def pair_of(first: Band | None, second: Band | None) -> str:
    """Name the bands of the two sides, whichever is which; empty where one is not known."""
    if first is None or second is None:
        return ""
    return "-".join(sorted((first.value, second.value), reverse=True))


def revoked(verdict: Verdict, handover: Handover | None, policy: Policy) -> Verdict:
    """Turn an ACCEPT back to UNDECIDED where another voice took over, if the policy wants that.

    The scores and decisions of the speakers stay as they are.
    """
    accepted = verdict.decision is Decision.ACCEPT
    if handover is None or not policy.revoke_at_handover or not accepted:
        return verdict
    reason = (
        f"another voice took over: window {handover.window} and the one before have cosine"
        f" {handover.cosine:.3f} to all before them; {verdict.reason}"
    )
    return replace(verdict, decision=Decision.UNDECIDED, reason=reason)


def decide(
    policy: Policy,
    comparisons: Sequence[Comparison] | None,
    *,
    speech_samples: int,
    window_count: int,
    sample_rate_hz: int,
    speakers_compared: int,
    poor: str = "",
    sequential: SequentialDecision | None = None,
) -> Verdict:
    """Decide for each speaker, and for the call as for the most alike one that has a voiceprint.

    `comparisons` is None where the call named no target and empty where the whole domain was
    meant and nobody is enrolled in it. Samples are net speech at the model's rate,
    `sample_rate_hz`. Scores come back on the policy's scale, most alike first. `poor` says why the
    audio is too bad to be judged; empty: it is not. With `sequential`, what its looks have settled
    stays, and nothing else decides: one speaker who was accepted is enough for the call.
    """
    heard = _Heard(
        policy, speech_samples, window_count, sample_rate_hz, speakers_compared, poor, sequential
    )
    if comparisons is None:
        return _without_speakers(Decision.SPEAKER_NOT_PROVIDED, heard)
    if not comparisons:
        return _without_speakers(Decision.SPEAKER_NOT_ENROLLED, heard)
    scores = sorted((_score(one, heard) for one in comparisons), key=_most_alike_first)
    comparable = (one for one in scores if one.decision not in _BY_STATE.values())
    first = next(comparable, scores[0])
    if sequential is not None:
        accepted = (one for one in scores if one.decision is Decision.ACCEPT)
        first = next(accepted, first)
    reason = _REASONS[first.decision](heard, first)
    return Verdict(first.decision, reason, tuple(scores), speakers_compared)


def _without_speakers(decision: Decision, heard: _Heard) -> Verdict:
    reason = _REASONS[decision](heard, SpeakerScore("", None, decision))
    return Verdict(decision, reason, (), heard.speakers_compared)


def _score(one: Comparison, heard: _Heard) -> SpeakerScore:
    if one.state is not SpeakerState.ENROLLED:
        return SpeakerScore(one.speaker_id, None, _BY_STATE[one.state])
    score = one.on(heard.policy.scale)
    held = _held_against(one, heard)
    settled = None if heard.sequential is None else heard.sequential.of(one.speaker_id)
    decided = _judge(score, heard, held) if settled is None else settled.decision
    thresholds = None if score is None else held
    return SpeakerScore(
        one.speaker_id, score, decided, one.bands, thresholds, one.scores, one.profile
    )


def _held_against(one: Comparison, heard: _Heard) -> Thresholds | None:
    """Give the thresholds for these bands, or the boundaries of this moment, if there are any."""
    if heard.sequential is not None:
        return heard.sequential.at(heard.speech_samples, one.bands)
    usual = Thresholds(heard.policy.accept_at, heard.policy.reject_below)
    return heard.policy.by_bands.get(one.bands, usual)


def _judge(score: float | None, heard: _Heard, held: Thresholds | None) -> Decision:
    enough = heard.speech_samples >= heard.policy.minimum_speech_samples
    if score is None or heard.window_count == 0 or not enough:
        return Decision.NOT_ENOUGH_SPEECH
    if heard.poor:
        return Decision.POOR_AUDIO
    if held is None or heard.sequential is not None:
        return Decision.UNDECIDED
    if score >= held.accept_at:
        return Decision.ACCEPT
    if score < held.reject_below:
        return Decision.REJECT
    return Decision.UNDECIDED


def _most_alike_first(one: SpeakerScore) -> float:
    return math.inf if one.score is None else -one.score


def _settled(heard: _Heard, one: SpeakerScore) -> Settled | None:
    return heard.sequential.of(one.speaker_id) if heard.sequential else None


def _scored(heard: _Heard, one: SpeakerScore, verdict: str) -> str:
    windows = "1 window" if heard.window_count == 1 else f"{heard.window_count} windows"
    return (
        f"{one.speaker_id} scores {one.score:.4f} on the scale {heard.policy.scale.value},"
        f" {verdict}{_for_bands(heard, one)}, after {heard.seconds(heard.speech_samples)} of speech"
        f" ({windows})"
    )


def _for_bands(heard: _Heard, one: SpeakerScore) -> str:
    return f" for {one.bands} band" if one.bands in heard.policy.by_bands else ""


def _held(one: SpeakerScore) -> Thresholds:
    return one.thresholds or Thresholds(0.0, 0.0)


def _why_open(heard: _Heard, one: SpeakerScore) -> str:
    told = f"{one.speaker_id} crossed no boundary so far, with {one.score:.4f} on the scale"
    told += f" {heard.policy.scale.value} after {heard.seconds(heard.speech_samples)} of speech"
    if one.thresholds is None:
        return f"{told}; the model has no boundaries for {one.bands} band"
    is_over = heard.speech_samples >= (heard.policy.maximum_speech_samples or math.inf)
    return f"{told}, the most that is heard" if is_over else told


def _why_accept(heard: _Heard, one: SpeakerScore) -> str:
    if settled := _settled(heard, one):
        return settled.reason(one.speaker_id, heard.policy.scale, heard.sample_rate_hz)
    return _scored(heard, one, f"at or above the accept threshold {_held(one).accept_at:.4f}")


def _why_reject(heard: _Heard, one: SpeakerScore) -> str:
    if settled := _settled(heard, one):
        return settled.reason(one.speaker_id, heard.policy.scale, heard.sample_rate_hz)
    return _scored(heard, one, f"below the reject threshold {_held(one).reject_below:.4f}")


def _why_undecided(heard: _Heard, one: SpeakerScore) -> str:
    if heard.sequential is not None:
        return _why_open(heard, one)
    low, high = _held(one).reject_below, _held(one).accept_at
    return _scored(heard, one, f"between the thresholds {low:.4f} and {high:.4f}")


def _why_not_enough_speech(heard: _Heard, one: SpeakerScore) -> str:
    speech = heard.seconds(heard.speech_samples)
    if heard.window_count == 0:
        return f"no window with a voice in it was heard yet, in {speech} of net speech"
    if heard.speech_samples < heard.policy.minimum_speech_samples:
        needed = heard.seconds(heard.policy.minimum_speech_samples)
        return f"{speech} of speech is less than the {needed} that the policy asks for"
    if one.all_scores:
        scale = heard.policy.scale.value
        return f"{one.speaker_id} has no score on the scale {scale}, after {speech} of speech"
    return f"there is nothing to compare {one.speaker_id} with, in {speech} of speech"


def _why_not_enrolled(_heard: _Heard, one: SpeakerScore) -> str:
    if not one.speaker_id:
        return "nobody is enrolled in the domain"
    return f"{one.speaker_id} has no voiceprint in the domain"


_BY_STATE: Mapping[SpeakerState | None, Decision] = {
    None: Decision.SPEAKER_NOT_ENROLLED,
    SpeakerState.PENDING: Decision.SPEAKER_NOT_ENROLLED,
    SpeakerState.OPTED_OUT: Decision.SPEAKER_OPTED_OUT,
    SpeakerState.EXPIRED: Decision.SPEAKER_EXPIRED,
}
"""The answer for every state but ENROLLED."""

_REASONS: Mapping[Decision, Callable[[_Heard, SpeakerScore], str]] = {
    Decision.ACCEPT: _why_accept,
    Decision.REJECT: _why_reject,
    Decision.UNDECIDED: _why_undecided,
    Decision.NOT_ENOUGH_SPEECH: _why_not_enough_speech,
    Decision.POOR_AUDIO: lambda heard, _one: f"the audio is too bad to judge: {heard.poor}",
    Decision.SPEAKER_NOT_ENROLLED: _why_not_enrolled,
    Decision.SPEAKER_OPTED_OUT: lambda _heard, one: (
        f"{one.speaker_id} asked not to be verified by voice"
    ),
    Decision.SPEAKER_EXPIRED: lambda _heard, one: (
        f"the voiceprint of {one.speaker_id} is older than the domain allows"
    ),
    Decision.SPEAKER_NOT_PROVIDED: lambda _heard, _one: (
        "the call names no speaker, so there is nobody to compare the voice with"
    ),
}
"""Every decision has its sentence; a test holds the table complete."""
