"""One enrolment: how far it is, and the recording that is stored at its end."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import AudioWithoutVoice, NotEnoughSpeech
from speakerd_server.values import NewRecording, Speaker, Utterance


class Feedback(enum.Enum):
    """What a person who enrols should do."""

    OK = "ok"
    TOO_SHORT = "too_short"
    NO_VOICE = "no_voice"
    LOW_CONSISTENCY = "low_consistency"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an enrolment is."""

    percent: int
    """0 to 100: net speech so far against what is needed."""
    still_needed_s: float
    """Net speech still needed."""
    feedback: Feedback
    """What the person should do."""


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
    """OK or LOW_CONSISTENCY."""
    reason: str
    """The same in one sentence with the numbers."""


class Enrolment:
    """One recording on its way into the store."""

    def __init__(
        self,
        serving: Serving,
        domain: str,
        speaker_id: str,
        display_name: str | None,
        hearing: Hearing,
        minimum_speech_s: float,
    ) -> None:
        self.domain = domain
        self.hearing = hearing
        self.minimum_speech_s = minimum_speech_s
        self._serving = serving
        self.speaker_id = speaker_id
        self._display_name = display_name

    async def check(self) -> None:
        """Raise ModelMismatch when the speaker was enrolled with another model."""
        identity = self.hearing.model.card.identity
        await self._serving.enrolments.voiceprint(self.domain, self.speaker_id, identity)

    def progress(self, utterance: Utterance) -> Progress:
        """Tell how far it is."""
        speech_s = self._speech_s(utterance)
        missing_s = max(0.0, self.minimum_speech_s - speech_s)
        percent = 100
        if missing_s > 0:
            percent = int(100 * speech_s / self.minimum_speech_s)
        feedback = Feedback.TOO_SHORT if missing_s > 0 else Feedback.OK
        if utterance.window_count == 0:
            feedback = Feedback.NO_VOICE
        elif utterance.consistency < self._low:
            feedback = Feedback.LOW_CONSISTENCY
        return Progress(percent, missing_s, feedback)

    async def store(self, utterance: Utterance) -> Stored:
        """Store the recording; on disk when this returns.

        Raises AudioWithoutVoice, NotEnoughSpeech, ModelMismatch and what the store raises.
        """
        if utterance.window_count == 0:
            raise AudioWithoutVoice(utterance.windows_without_variance)
        if self._speech_s(utterance) < self.minimum_speech_s:
            raise NotEnoughSpeech(self._speech_s(utterance), self.minimum_speech_s)
        recording = NewRecording(
            model=self.hearing.model.card.identity,
            sum=utterance.sum,
            window_count=utterance.window_count,
            speech_samples=utterance.speech_samples,
            sample_rate_hz=self.hearing.model_rate_hz,
            window_consistency=utterance.consistency,
        )
        enrolled = await self._serving.enrolments.enrol(
            self.domain, self.speaker_id, recording, self._display_name
        )
        feedback, reason = self._judge(utterance.consistency, enrolled.consistency)
        return Stored(
            enrolled.speaker, enrolled.recording_id, enrolled.consistency, feedback, reason
        )

    def _judge(self, within: float, with_earlier: float | None) -> tuple[Feedback, str]:
        if with_earlier is not None and with_earlier < self._low:
            return Feedback.LOW_CONSISTENCY, (
                f"this recording is unlike the speaker's earlier ones: cosine {with_earlier:.3f} is"
                f" below {self._low:g}; two people may be enrolled under one id"
            )
        if within < self._low:
            return Feedback.LOW_CONSISTENCY, (
                f"the windows of this recording are unlike each other: mean cosine {within:.3f} is"
                f" below {self._low:g}; several people may be speaking in it"
            )
        return Feedback.OK, "stored"

    @property
    def _low(self) -> float:
        """Threshold of the card; without one nothing is called inconsistent."""
        low = self.hearing.model.card.reject_below
        return -1.0 if low is None else low

    def _speech_s(self, utterance: Utterance) -> float:
        return utterance.speech_samples / self.hearing.model_rate_hz
