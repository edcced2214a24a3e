"""What the store answers, for those who only read it."""

from __future__ import annotations

from dataclasses import dataclass

from speakerd_server.enrolled import Speaker


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment has stored."""

    speaker: Speaker
    """With the new recording."""
    recording_id: str
    """Of the new recording."""
    consistency: float | None
    """Cosine in [-1, 1]: the new recording's mean to the voiceprint of the speaker's earlier
    recordings; None for the first."""
    recordings_erased: int = 0
    """Expired recordings that the new one took the place of."""


@dataclass(frozen=True, slots=True)
class OptedOut:
    """What an opt-out has left and erased."""

    speaker: Speaker
    """OPTED_OUT, without recordings and name."""
    recordings_erased: int
    """How many recordings the speaker had."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer of a search."""

    hits: tuple[tuple[str, float], ...]
    """(speaker id, cosine in [-1, 1]), most alike first; ties by id."""
    compared: int
    """How many voiceprints were compared."""
