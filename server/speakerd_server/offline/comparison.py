"""Two embeddings -> their scores on every scale there is, and whether they are one person's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerd_server.cards import Card, LlrCalibration
from speakerd_server.errors import OptionInvalid, ProfileUnusable, VectorsUnusable
from speakerd_server.models.profile import read_profile
from speakerd_server.offline.embedding import Embedded, Float64
from speakerd_server.offline.vectors import read_vectors
from speakerd_server.score.asnorm import as_norm, top_statistics
from speakerd_server.score.calibration import llr_of
from speakerd_server.score.similarity import SCALE_RANGES, cosine
from speakerd_server.values import ScoreScale

TOP_N = 300
"""WeSpeaker's default for AS-norm."""
EVEN_ODDS_LLR = 0.0
"""Where both answers are equally likely, if they were before anything was heard."""
_DEFAULT_PROFILE = "default"


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Impostors that scores are normalised against."""

    embeddings: Float64
    """float64[m, dim]."""
    top_n: int
    """How many of the most alike are taken for each side, 2 or more."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which score on two recordings are taken to be of one person."""

    scale: ScoreScale
    """Of `value`."""
    value: float
    """This score and those above it: one person."""
    source: str
    """Who chose it, for people."""

    @property
    def warning(self) -> str | None:
        """What to be told of a threshold that decides next to nothing; None: nothing."""
        lowest = {ScoreScale.SIMILARITY: 0.5, ScoreScale.COSINE: 0.0}.get(self.scale, -math.inf)
        if self.value > lowest:
            return None
        return (
            f"{self.value:g} on the {self.scale.value} scale accepts every non-negative cosine,"
            " which many pairs of different speakers reach; choose a threshold from your own"
            " recordings"
        )


def read_cohort(path: Path, dim: int, top_n: int) -> Cohort:
    """Read a cohort; raises VectorsUnusable where it is not one of this model's embeddings."""
    vectors = read_vectors(path)
    if vectors.values.shape[1] != dim:
        problem = f"they have {vectors.values.shape[1]} values, the model's have {dim}"
        raise VectorsUnusable(path, problem)
    for name, row in zip(vectors.ids, vectors.values, strict=True):
        if not row.any():
            raise VectorsUnusable(path, f"{name} is zero")
    return Cohort(vectors.values.astype(np.float64), top_n)


def find_calibration(card: Card, profile: str | None) -> LlrCalibration | None:
    """Find the calibration of a channel type.

    Args:
        card: Of the model.
        profile: One of the card's by name, else a file; None: the card's only one or the one
            named "default".

    Returns:
        None where `profile` is None and the card has none of these.

    Raises:
        ProfileUnusable: The file is not there, or no profile of this model.
    """
    known = {llr.profile: llr for llr in card.calibration.llr}
    if profile is None:
        only = tuple(known.values()) if len(known) == 1 else (None,)
        return known.get(_DEFAULT_PROFILE, only[0])
    path = Path(profile)
    if profile not in known and not path.exists():
        problem = f"it is no file, and the model's card has {', '.join(known) or 'none'}"
        raise ProfileUnusable(path, problem)
    return known.get(profile) or read_profile(path, card.identity)


def compare(
    first: Embedded,
    second: Embedded,
    *,
    cohort: Cohort | None = None,
    calibration: LlrCalibration | None = None,
) -> Mapping[ScoreScale, float]:
    """Score two recordings on every scale that the arguments allow.

    Cosine and similarity, (cosine + 1) / 2, always; asnorm with a cohort; llr with a calibration,
    if that is of asnorm scores then with a cohort. Raises CohortTooSmall, CohortWithoutSpread and
    DurationsMissing.
    """
    alike = cosine(first.embedding, second.embedding)
    scores = {ScoreScale.COSINE: alike, ScoreScale.SIMILARITY: (alike + 1.0) / 2.0}
    if cohort is not None:
        both = np.stack([first.embedding, second.embedding])
        means, deviations = top_statistics(both, cohort.embeddings, cohort.top_n)
        sides = [means[:1], deviations[:1], means[1:], deviations[1:]]
        scores[ScoreScale.ASNORM] = float(as_norm(np.array([alike]), *sides)[0])
    if calibration is not None and calibration.scale in scores:
        score = scores[calibration.scale]
        scores[ScoreScale.LLR] = llr_of(calibration, score, first.seconds, second.seconds)
    return scores


def choose_threshold(
    card: Card,
    scale: ScoreScale | None,
    value: float | None,
    *,
    calibration: LlrCalibration | None,
    has_cohort: bool,
) -> Threshold:
    """Give the threshold asked for, or the one that stands to reason without.

    Without a value: the card's on the cosine and similarity scales, 0 on the llr scale.

    Raises:
        OptionInvalid: There is none, it is out of its scale, or the scale cannot be given.
    """
    if scale is None:
        if value is not None:
            raise OptionInvalid("--threshold", "say with --scale on which scale it is")
        scale = ScoreScale.COSINE
    _check_available(scale, card, calibration, has_cohort)
    if value is None:
        return _usual(card, scale)
    lowest, highest = SCALE_RANGES.get(scale, (-math.inf, math.inf))
    if not (math.isfinite(value) and lowest <= value <= highest):
        told = f"from {lowest:g} to {highest:g}" if math.isfinite(lowest) else "finite"
        raise OptionInvalid("--threshold", f"{value:g} is no {scale.value}; it must be {told}")
    return Threshold(scale, value, "given")


def _check_available(
    scale: ScoreScale, card: Card, calibration: LlrCalibration | None, has_cohort: bool
) -> None:
    if scale is ScoreScale.ASNORM and not has_cohort:
        raise OptionInvalid("--scale", "asnorm needs a --cohort")
    if scale is not ScoreScale.LLR:
        return
    if calibration is None:
        names = ", ".join(llr.profile for llr in card.calibration.llr)
        advice = f"choose one of the card's: {names}" if names else "give one with --profile"
        raise OptionInvalid("--scale", f"llr needs a calibration; {advice}")
    if calibration.scale is ScoreScale.ASNORM and not has_cohort:
        problem = f"the calibration {calibration.profile} is of asnorm scores: give a --cohort"
        raise OptionInvalid("--scale", problem)


def _usual(card: Card, scale: ScoreScale) -> Threshold:
    if scale is ScoreScale.LLR:
        return Threshold(scale, EVEN_ODDS_LLR, "even odds before")
    usual = None if card.accept_at is None else scale.of_cosine(card.accept_at)
    if usual is None:
        model = f"{card.identity.name}/{card.identity.version}"
        problem = f"the model {model} has none of its own on the {scale.value} scale"
        raise OptionInvalid("--threshold", f"{problem}; give one, with --scale")
    return Threshold(scale, usual, "the model's")
