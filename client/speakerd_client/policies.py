"""When a score is enough, and how good the audio must be."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from speakerd_client.checks import require


class ScoreScale(enum.Enum):
    """The kind of number that a score is; higher always means more alike."""

    COSINE = "cosine"
    """In [-1, 1]."""
    SIMILARITY = "similarity"
    """(cosine + 1) / 2, in [0, 1]."""
    ASNORM = "asnorm"
    """Cosine normalised against a cohort, in standard deviations; the model must have one."""
    LLR = "llr"
    """Calibrated natural-log likelihood ratio, 0 for even odds; the model must be calibrated."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """How good audio must be; what is None in a request takes the daemon's setting."""

    minimum_snr_db: float | None = None
    """POOR_AUDIO below this signal-to-noise ratio, -20 to 60 dB."""
    maximum_clipping_share: float | None = None
    """POOR_AUDIO above this share of clipped samples, 0 to 1."""
    minimum_level_dbfs: float | None = None
    """POOR_AUDIO below this level of the speech, -100 to 0 dB."""


@dataclass(frozen=True, slots=True)
class SequentialPolicy:
    """Decide each call as soon as the boundaries for these error rates allow it, for good."""

    target_far: float
    """Share of impostor calls that may ever be accepted; the model must have boundaries for it."""
    target_frr: float
    """Share of the true speakers' calls that may ever be rejected."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a score is enough. What is None in a request takes the value of the model's card."""

    scale: ScoreScale | None = None
    """Of the thresholds, of `score` in every result and of their order."""
    accept_at: float | None = None
    """ACCEPT at this score or above, on `scale`; needs `scale`."""
    reject_below: float | None = None
    """REJECT below this score, on `scale`; at most accept_at."""
    minimum_speech_s: float | None = None
    """Net speech under which the decision is NOT_ENOUGH_SPEECH."""
    maximum_speech_s: float | None = None
    """Net speech that settles the decision; None: no limit."""
    quality: QualityLimits | None = None
    """How good the audio must be; None: as the daemon is set."""
    revoke_at_handover: bool = False
    """Whether an ACCEPT becomes UNDECIDED once another voice has taken over."""
    sequential: SequentialPolicy | None = None
    """Decide by learnt boundaries in place of the thresholds, which must then be None."""
    minimum_margin: float | None = None
    """For Everyone and MembersOf: lead of the best speaker over the second, on `scale`, under which
    an ACCEPT becomes UNDECIDED; None: 0."""

    def __post_init__(self) -> None:
        """Raise TypeError for a scale that is none."""
        wanted = "a ScoreScale such as ScoreScale.COSINE, or None"
        require(self.scale, (ScoreScale, type(None)), "scale", wanted)
        require(self.quality, (QualityLimits, type(None)), "quality", "QualityLimits or None")
        wanted = "a SequentialPolicy(target_far, target_frr), or None"
        require(self.sequential, (SequentialPolicy, type(None)), "sequential", wanted)
