"""What an evaluation works on: trials with their scores and what is known of both sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.evaluation.trials import Trials
from speakerd_server.values import ModelIdentity, ScoreScale


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """The scores of one trial list, on one scale, at one length of speech."""

    trials: Trials
    """The pairs, n of them; with durations, those whose sides are both long enough."""
    scores: NDArray[np.float64]
    """float64[n], higher means more alike: as in the score files, so rounded to five decimals."""
    scale: ScoreScale
    """Of the scores: COSINE or ASNORM."""
    enroll_speaker: tuple[str, ...]
    """Person of the enrolled side of each trial."""
    test_speaker: tuple[str, ...]
    """Person of the tested side of each trial."""
    enroll_seconds: NDArray[np.float64] | None
    """float64[n]: speech of the enrolled side; None where only embeddings were given."""
    test_seconds: NDArray[np.float64] | None
    """float64[n]: speech of the tested side; None where only embeddings were given."""
    model: ModelIdentity | None
    """What made the embeddings; None where it is not known."""
    speech: str = "whole"
    """Seconds of speech on each side, such as "2 s", or "whole"."""
    left_out: int = 0
    """Trials of the list that are not here, since a side is too short."""
