"""Scored trials for tests: WeSpeaker's own score files, and made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from speakerd_server.evaluation.evaluated import Evaluated
from speakerd_server.evaluation.trials import Trials
from speakerd_server.values import ScoreScale
from support.shared import shared_path


def wespeaker_scores(name: str, scale: ScoreScale = ScoreScale.COSINE) -> Evaluated:
    """Read one of the shared score files; the speaker is the id's part before the first '-'."""
    path = shared_path(f"reference/wespeaker_scores/{name}.score")
    rows = [line.split() for line in path.read_text().splitlines()]
    enroll, test = tuple(row[0] for row in rows), tuple(row[1] for row in rows)
    target = np.array([row[3] == "target" for row in rows])
    return Evaluated(
        trials=Trials(path, enroll, test, target),
        scores=np.array([float(row[2]) for row in rows]),
        scale=scale,
        enroll_speaker=tuple(one.split("-")[0] for one in enroll),
        test_speaker=tuple(one.split("-")[0] for one in test),
        enroll_seconds=None,
        test_seconds=None,
        model=None,
    )


def made(
    persons: int = 8,
    recordings: int = 4,
    *,
    apart: float = 3.0,
    seed: int = 0,
    seconds: bool = False,
    list_name: str = "made.txt",
) -> Evaluated:
    """Make normal scores of all pairs, the means of both kinds `apart` deviations of 0.1.

    With seconds, longer speech moves both kinds up: 0.05 for each unit of ln(shorter side).
    """
    generator = np.random.default_rng(seed)
    ids = [f"p{person}-{number}" for person in range(persons) for number in range(recordings)]
    pairs = [(one, other) for at, one in enumerate(ids) for other in ids[at + 1 :]]
    enroll, test = tuple(one for one, _ in pairs), tuple(other for _, other in pairs)
    sides = [tuple(one.split("-")[0] for one in side) for side in (enroll, test)]
    target = np.array([one == other for one, other in zip(*sides, strict=True)])
    scores = 0.1 * (apart * target + generator.standard_normal(len(pairs)))
    lasting = dict(zip(ids, np.exp(generator.uniform(0, 3, len(ids))), strict=True))
    first, second = (np.array([lasting[one] for one in side]) for side in (enroll, test))
    if seconds:
        scores += 0.05 * np.log(np.minimum(first, second))
    return Evaluated(
        trials=Trials(Path(list_name), enroll, test, target),
        scores=scores,
        scale=ScoreScale.COSINE,
        enroll_speaker=sides[0],
        test_speaker=sides[1],
        enroll_seconds=first if seconds else None,
        test_seconds=second if seconds else None,
        model=None,
    )
