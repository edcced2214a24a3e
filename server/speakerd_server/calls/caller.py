"""Callers who are enrolled from the very call in which they are heard."""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server import metrics
from speakerd_server.calls.enrolling import Enrolment, Wanted
from speakerd_server.calls.hearing import Hearing
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import (
    MultipleSpeakers,
    NotEnoughSpeech,
    SpeakerdError,
    TooManyCallerEnrolments,
)
from speakerd_server.quality.limits import QualitySettings
from speakerd_server.store.ids import check_display_name, check_group_name, check_speaker_id
from speakerd_server.values import Utterance

MAXIMUM_OF_CALL = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """What one enroll_caller asks for."""

    group: str
    """The watchlist."""
    speaker_id: str
    """The member."""
    display_name: str | None = None
    """Replaces the name; None: keeps it."""
    force: bool = False
    """Whether a recording is stored that other people seem to speak in."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it."""

    recording_id: str = ""
    """The new recording; empty: nothing was stored."""
    error: SpeakerdError | None = None
    """Why nothing was stored."""


class CallerEnrolments:
    """Enrols the caller of one call; what is refused is told and does not end the call.

    Args:
        serving: Where enrolments go.
        domain: Of the call.
        hearing: How the call is heard.
        limits: How good its audio must be.
    """

    def __init__(
        self, serving: Serving, domain: str, hearing: Hearing, limits: QualitySettings
    ) -> None:
        self._serving, self._domain = serving, domain
        self._hearing, self._limits = hearing, limits
        self._count = 0

    async def enrol(self, wish: Wish, utterance: Utterance) -> Outcome:
        """Store what was heard as a recording of the wished speaker; on disk when this returns."""
        try:
            return Outcome(recording_id=await self._store(wish, utterance))
        except SpeakerdError as error:
            return Outcome(error=error)

    async def _store(self, wish: Wish, utterance: Utterance) -> str:
        self._count += 1
        if self._count > MAXIMUM_OF_CALL:
            raise TooManyCallerEnrolments(MAXIMUM_OF_CALL)
        check_group_name(wish.group)
        check_speaker_id(wish.speaker_id)
        check_display_name(wish.display_name)
        minimum_s = self._serving.settings.enroll_minimum_speech_s
        if utterance.window_count == 0:
            raise NotEnoughSpeech(0.0, minimum_s)
        handover = utterance.handover
        if handover is not None and not wish.force:
            least = self._hearing.model.card.calibration.handover_below
            raise MultipleSpeakers(handover.cosine, handover.cosine if least is None else least)
        wanted = Wanted(
            minimum_s,
            self._limits,
            wish.display_name,
            wish.force,
            group=wish.group,
        )
        enrolment = Enrolment(self._serving, self._domain, wish.speaker_id, self._hearing, wanted)
        await enrolment.check()
        stored = await enrolment.store(utterance)
        metrics.ENROLMENTS.inc()
        metrics.ERASURES.inc(stored.recordings_erased)
        return stored.recording_id
