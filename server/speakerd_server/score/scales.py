"""One comparison on every scale of its model: cosine, similarity, asnorm, llr.

Which impostors normalise which side: a score lies where those of strangers lie who come by the same
two channels. So the enrolled side is compared with the cohort of the tested side's band, and the
tested side with that of the enrolled side's (docs/measurements/scales.md).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speakerd_server.cards import Card, Cohort, channel_pair
from speakerd_server.errors import DurationsMissing
from speakerd_server.score.asnorm import as_norm, top_of_one
from speakerd_server.score.calibration import llr_of
from speakerd_server.score.similarity import cosine
from speakerd_server.values import Band, ScoreScale

REMEMBERED = 16_384
"""Statistics of enrolled sides that are kept, about 4 MB; then the least used one goes."""

_Statistics = tuple[float, float]
"""Mean and standard deviation of one side's top cosines."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two voices of a comparison."""

    embedding: NDArray[np.floating[Any]]
    """float32[dim] or float64[dim], of any length."""
    band: Band | None
    """None: not known, which counts as wide."""
    speech_s: float
    """Net speech behind it; 0: not known."""
    statistics: dict[bool, _Statistics | None] = field(default_factory=dict)
    """By whether the cohort is narrow-band, filled by a Scorer: for a call once for all that it is
    compared with."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One comparison."""

    by_scale: Mapping[ScoreScale, float]
    """All finite. A scale is not there where the model does not offer it, or where this comparison
    has no score on it: a voiceprint without a direction, or net speech that is not known."""
    profile: str
    """Of the calibration for these bands; empty: the model has none."""

    @property
    def cosine(self) -> float:
        """In [-1, 1]."""
        return self.by_scale[ScoreScale.COSINE]


class Scorer:
    """Scores by one model; pure but for what it remembers of enrolled sides.

    What is remembered is found by a digest of the voiceprint, so that a changed one is computed
    anew, and nothing of an erased one is left but two numbers.

    Args:
        card: The model's.
        cohort: What card.cohort describes; None: no asnorm.
        remembered: Most statistics that are kept.
    """

    def __init__(self, card: Card, cohort: Cohort | None, remembered: int = REMEMBERED) -> None:
        self._card = card
        self._directions: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._top_n = 0
        if cohort is not None:
            self._directions = _unit(cohort.wide), _unit(cohort.narrow)
            self._top_n = cohort.top_n
        self._remembered = remembered
        self._known: OrderedDict[tuple[bytes, bool], _Statistics | None] = OrderedDict()

    @property
    def remembered_count(self) -> int:
        """Statistics that are kept now."""
        return len(self._known)

    def scored(self, enrolled: Side, tested: Side, *, remember: bool = True) -> Scored:
        """Compare on every scale.

        Args:
            enrolled: Its statistics are remembered from call to call.
            tested: Its statistics are computed once for each band and kept in it.
            remember: False: both sides are met once, and nothing is kept.
        """
        alike = cosine(tested.embedding, enrolled.embedding)
        found = {ScoreScale.COSINE: alike, ScoreScale.SIMILARITY: (alike + 1.0) / 2.0}
        normalised = self._normalised(alike, enrolled, tested, remember)
        if normalised is not None:
            found[ScoreScale.ASNORM] = normalised
        return self._calibrated(found, enrolled, tested)

    def _calibrated(self, found: dict[ScoreScale, float], enrolled: Side, tested: Side) -> Scored:
        calibration = self._card.calibration.llr_for(channel_pair(enrolled.band, tested.band))
        if calibration is None:
            return Scored(found, "")
        if calibration.scale in found:
            score = found[calibration.scale]
            try:
                llr = llr_of(calibration, score, enrolled.speech_s, tested.speech_s)
            except DurationsMissing:
                return Scored(found, calibration.profile)
            found[ScoreScale.LLR] = llr
        return Scored(found, calibration.profile)

    def _normalised(
        self, alike: float, enrolled: Side, tested: Side, remember: bool
    ) -> float | None:
        if self._directions is None:
            return None
        get = self._recalled if remember else self._of
        of_enrolled, of_tested = get(enrolled, tested.band), self._of(tested, enrolled.band)
        if of_enrolled is None or of_tested is None:
            return None
        return as_norm(alike, *of_enrolled, *of_tested)

    def _recalled(self, enrolled: Side, band: Band | None) -> _Statistics | None:
        digest = blake2b(enrolled.embedding.tobytes(), digest_size=16).digest()
        key = (digest, band is Band.NARROW)
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        self._known[key] = found = self._of(enrolled, band)
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return found

    def _of(self, side: Side, band: Band | None) -> _Statistics | None:
        """Give a side's statistics against the cohort of a band; None: it has no direction."""
        is_narrow = band is Band.NARROW
        if is_narrow not in side.statistics:
            side.statistics[is_narrow] = self._statistics(side.embedding, band)
        return side.statistics[is_narrow]

    def _statistics(
        self, embedding: NDArray[np.floating[Any]], band: Band | None
    ) -> _Statistics | None:
        if self._directions is None:
            return None
        return top_of_one(embedding, self._directions[band is Band.NARROW], self._top_n)


def _unit(vectors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Give float64[n, dim] of length 1: as float32 they are, but for rounding."""
    exact = vectors.astype(np.float64)
    unit: NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit
