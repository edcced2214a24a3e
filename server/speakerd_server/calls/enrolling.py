"""One enrolment: how far it is, and the recording that is stored at its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.serving import Serving
from speakerd_server.decision import pair_of
from speakerd_server.enrolled import NewRecording, Speaker, Voiceprint
from speakerd_server.errors import (
    AudioWithoutVoice,
    DifferentSpeaker,
    MultipleSpeakers,
    NotEnoughSpeech,
    PoorAudio,
    SpeakerOptedOut,
)
from speakerd_server.policies import card_thresholds
from speakerd_server.quality.limits import QualitySettings, poor
from speakerd_server.score.similarity import cosine
from speakerd_server.values import ScoreScale, SpeakerState, Thresholds, Utterance

MOST_DUPLICATES = 5


class Feedback(enum.Enum):
    """What a person who enrols should do."""

    OK = "ok"
    TOO_SHORT = "too_short"
    NO_VOICE = "no_voice"
    POOR_AUDIO = "poor_audio"
    DIFFERENT_SPEAKER = "different_speaker"
    MULTIPLE_SPEAKERS = "multiple_speakers"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an enrolment is."""

    percent: int
    """0 to 100: net speech so far against what is needed."""
    still_needed_s: float
    """Net speech still needed."""
    feedback: Feedback
    """What the person should do."""
    reason: str
    """The same in one sentence with the numbers."""
    consistency: float | None
    """Cosine in [-1, 1] to the voiceprint of the earlier recordings; None: none, or no window."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored."""

    speaker: Speaker
    """With the new recording."""
    recording_id: str
    """The new recording."""
    consistency: float | None
    """Cosine in [-1, 1] to the voiceprint of the earlier recordings; None for the first."""
    feedback: Feedback
    """OK, or what `force` let pass."""
    reason: str
    """The same in one sentence with the numbers."""
    duplicates: tuple[tuple[str, float], ...]
    """(speaker id, cosine) of others with this voice, most alike first."""
    recordings_erased: int = 0
    """Expired recordings that the new one took the place of."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an enrolment asks for."""

    minimum_speech_s: float
    """Net speech that the recording needs."""
    limits: QualitySettings
    """How good its audio must be."""
    display_name: str | None = None
    """Replaces the name; None: keeps it."""
    force: bool = False
    """Whether a recording is stored that other people seem to speak in."""
    check_duplicates: bool = False
    """Whether others with this voice are looked for."""
    group: str | None = None
    """The speaker becomes a member of it; None: of none."""
    consent_unix_s: float | None = None
    """When the person agreed; None: what is kept stays."""


class Enrolment:
    """One recording on its way into the store."""

    def __init__(
        self, serving: Serving, domain: str, speaker_id: str, hearing: Hearing, wanted: Wanted
    ) -> None:
        self.domain, self.speaker_id = domain, speaker_id
        self.hearing, self.wanted = hearing, wanted
        self._serving = serving
        self._earlier: Voiceprint | None = None

    async def check(self) -> None:
        """Raise ModelMismatch when the speaker was enrolled with another model.

        SpeakerOptedOut when the person asked not to be enrolled.
        """
        enrolments, identity = self._serving.enrolments, self.hearing.model.card.identity
        self._earlier = await enrolments.voiceprint(self.domain, self.speaker_id, identity)
        if self._earlier is None:
            state = await enrolments.state(self.domain, self.speaker_id)
            if state is SpeakerState.OPTED_OUT:
                raise SpeakerOptedOut(self.speaker_id)

    def progress(self, utterance: Utterance) -> Progress:
        """Tell how far it is, and what is wrong so far."""
        speech_s, minimum_s = self._speech_s(utterance), self.wanted.minimum_speech_s
        missing_s = max(0.0, minimum_s - speech_s)
        percent = int(100 * speech_s / minimum_s) if missing_s > 0 else 100
        alike = self._alike(utterance)
        feedback, reason = self._feedback(utterance, alike, missing_s)
        return Progress(percent, missing_s, feedback, reason, alike)

    def _feedback(
        self, utterance: Utterance, alike: float | None, missing_s: float
    ) -> tuple[Feedback, str]:
        if utterance.window_count == 0:
            return Feedback.NO_VOICE, "no voice was heard yet"
        problem = poor(utterance.quality, self.wanted.limits)
        if problem:
            return Feedback.POOR_AUDIO, problem
        doubt = self._doubt(utterance, alike)
        if isinstance(doubt, DifferentSpeaker):
            return Feedback.DIFFERENT_SPEAKER, f"cosine {doubt.cosine:.3f} to the earlier ones"
        if doubt is not None:
            return Feedback.MULTIPLE_SPEAKERS, f"windows agree by {doubt.cosine:.3f} only"
        if missing_s > 0:
            return Feedback.TOO_SHORT, f"{missing_s:.2f} s of speech are still needed"
        return Feedback.OK, "there is enough speech"

    async def store(self, utterance: Utterance) -> Stored:
        """Store the recording; on disk when this returns.

        Raises AudioWithoutVoice, NotEnoughSpeech, PoorAudio, and unless forced DifferentSpeaker and
        MultipleSpeakers; ModelMismatch, SpeakerOptedOut and what the store raises.
        """
        if utterance.window_count == 0:
            raise AudioWithoutVoice(utterance.windows_without_variance)
        if self._speech_s(utterance) < self.wanted.minimum_speech_s:
            raise NotEnoughSpeech(self._speech_s(utterance), self.wanted.minimum_speech_s)
        problem = poor(utterance.quality, self.wanted.limits)
        if problem:
            raise PoorAudio(problem)
        await self.check()  # the voiceprint may have changed since the call began
        doubt = self._doubt(utterance, self._alike(utterance))
        if doubt is not None and not self.wanted.force:
            raise doubt
        duplicates = await self._duplicates(utterance) if self.wanted.check_duplicates else ()
        enrolled = await self._serving.enrolments.enrol(
            self.domain,
            self.speaker_id,
            self._recording(utterance),
            self.wanted.display_name,
            self.wanted.group,
            self.wanted.consent_unix_s,
        )
        feedback, reason = Feedback.OK, "stored"
        if doubt is not None:
            feedback, reason = Feedback[doubt.reason], f"stored by force: cosine {doubt.cosine:.3f}"
        return Stored(
            enrolled.speaker,
            enrolled.recording_id,
            enrolled.consistency,
            feedback,
            reason,
            duplicates,
            enrolled.recordings_erased,
        )

    def _recording(self, utterance: Utterance) -> NewRecording:
        return NewRecording(
            model=self.hearing.model.card.identity,
            sum=utterance.sum,
            window_count=utterance.window_count,
            speech_samples=utterance.speech_samples,
            sample_rate_hz=self.hearing.model_rate_hz,
            window_consistency=utterance.consistency,
            band=utterance.band,
            quality=utterance.quality,
        )

    def _alike(self, utterance: Utterance) -> float | None:
        """Give the cosine to the earlier recordings' voiceprint."""
        if self._earlier is None or utterance.window_count == 0:
            return None
        return cosine(utterance.mean, self._earlier.vector)

    def _doubt(
        self, utterance: Utterance, alike: float | None
    ) -> DifferentSpeaker | MultipleSpeakers | None:
        """Say why other people may be speaking, by the card's thresholds; without them nothing."""
        if alike is not None and self._earlier is not None:
            held = self._held_against(self._earlier, utterance)
            if held is not None and alike < held.reject_below:
                return DifferentSpeaker(alike, held.reject_below)
        together = self.hearing.model.card.calibration.several_below
        if together is not None and utterance.consistency < together:
            return MultipleSpeakers(utterance.consistency, together)
        return None

    async def _duplicates(self, utterance: Utterance) -> tuple[tuple[str, float], ...]:
        enrolments, identity = self._serving.enrolments, self.hearing.model.card.identity
        found = await enrolments.search(self.domain, identity, utterance.mean, MOST_DUPLICATES + 1)
        others = []
        for name, alike in found.hits:
            other = await enrolments.voiceprint(self.domain, name, identity)
            held = None if other is None else self._held_against(other, utterance)
            if name != self.speaker_id and held is not None and alike >= held.accept_at:
                others.append((name, alike))
        return tuple(others[:MOST_DUPLICATES])

    def _held_against(self, other: Voiceprint, utterance: Utterance) -> Thresholds | None:
        """Give the card's thresholds of cosine for the bands of both; None: it has none."""
        card, bands = self.hearing.model.card, pair_of(other.band, utterance.band)
        return card_thresholds(card, ScoreScale.COSINE, bands)

    def _speech_s(self, utterance: Utterance) -> float:
        return utterance.speech_samples / self.hearing.model_rate_hz
