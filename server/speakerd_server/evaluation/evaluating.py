"""Trial lists and embeddings in, scored trials out: each list alone, at each length of speech."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speakerd_server.cards import LlrCalibration
from speakerd_server.errors import CohortTooSmall
from speakerd_server.evaluation.embeddings import Embeddings, Floats
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.score_files import score_file_name, write_scores
from speakerd_server.evaluation.scoring import Scored, normalise, score_trials
from speakerd_server.evaluation.trials import Trials
from speakerd_server.values import ModelIdentity, ScoreScale


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """Impostors that scores are normalised by."""

    embeddings: Embeddings
    """Centred by the mean that is taken off the trials' embeddings."""
    top_n: int | None
    """How many of the most alike are taken (AS-norm); None: all (S-norm)."""

    def __post_init__(self) -> None:
        """Raise CohortTooSmall where there are fewer than top_n."""
        if self.top_n is not None and len(self.embeddings.ids) < self.top_n:
            raise CohortTooSmall(len(self.embeddings.ids), self.top_n)

    @property
    def norm(self) -> str:
        """What the score file is named for, such as asnorm300."""
        return "snorm" if self.top_n is None else f"asnorm{self.top_n}"


def evaluate_list(
    trials: Trials,
    speakers: Mapping[str, str],
    embeddings: Mapping[str, Embeddings],
    *,
    mean: Floats | None = None,
    cohort: Cohort | None = None,
    model: ModelIdentity | None = None,
    output: Path | None = None,
) -> list[Evaluated]:
    """Score a list at each length of speech: the cosines, then with a cohort the normalised.

    Where a length leaves no trial, there is one result without scores.

    Args:
        trials: The list.
        speakers: Person of each of its recordings.
        embeddings: By length of speech, such as "2 s" or "whole".
        mean: Taken off the embeddings first.
        cohort: None: no normalisation.
        model: What made the embeddings, if it is known.
        output: Folder for the score files; None: none are written.

    Raises:
        VectorsUnusable: The mean has another length, or an embedding has no direction.
        CohortWithoutSpread: The cohort cannot normalise the scores.
        OutputUnusable: A score file cannot be written.
    """
    results = []
    for speech, given in embeddings.items():
        here = frozenset(given.ids)
        sides = zip(trials.enroll, trials.test, strict=True)
        kept = np.array([one in here and other in here for one, other in sides], np.bool_)
        these = trials if kept.all() else trials.only(kept)
        if not len(these):
            none = Scored(ScoreScale.COSINE, (), np.empty(0))
            results.append(_evaluated(these, none, speakers, given, model, speech, len(trials)))
            continue
        centred = given.centred(mean)
        for scored, norm in _scored(these, centred, cohort):
            if output is not None:
                write_scores(output / score_file_name(trials, speech, norm), these, scored)
            results.append(_evaluated(these, scored, speakers, centred, model, speech, len(trials)))
    return results


def calibration_for(
    calibrations: Sequence[LlrCalibration], evaluated: Evaluated, profile: str = "default"
) -> LlrCalibration | None:
    """Give the profile's calibration of the scores' scale; None where it does not fit."""
    known = evaluated.enroll_seconds is not None and evaluated.test_seconds is not None
    for one in calibrations:
        if one.profile == profile and one.scale is evaluated.scale:
            return one if known or not (one.shorter or one.longer) else None
    return None


def _scored(
    trials: Trials, embeddings: Embeddings, cohort: Cohort | None
) -> list[tuple[Scored, str]]:
    cosines = score_trials(trials, embeddings)
    if cohort is None:
        return [(cosines, "")]
    top_n = len(cohort.embeddings.ids) if cohort.top_n is None else cohort.top_n
    normalised = normalise(trials, cosines, embeddings, cohort.embeddings, top_n)
    return [(cosines, ""), (normalised, cohort.norm)]


def _evaluated(
    trials: Trials,
    scored: Scored,
    speakers: Mapping[str, str],
    embeddings: Embeddings,
    model: ModelIdentity | None,
    speech: str,
    listed: int,
) -> Evaluated:
    seconds = embeddings.seconds
    row = embeddings.row
    enroll_seconds, test_seconds = (
        None if seconds is None else seconds[np.array([row[one] for one in side], np.intp)]
        for side in (trials.enroll, trials.test)
    )
    return Evaluated(
        trials=trials,
        scores=scored.scores,
        scale=scored.scale,
        enroll_speaker=tuple(speakers[one] for one in trials.enroll),
        test_speaker=tuple(speakers[one] for one in trials.test),
        enroll_seconds=enroll_seconds,
        test_seconds=test_seconds,
        model=model,
        speech=speech,
        left_out=listed - len(trials),
    )
