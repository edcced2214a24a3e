"""Score paths made for tests."""

from __future__ import annotations

import numpy as np
from speakerd_server.evaluation.score_paths import Paths


def paths(
    persons: int = 6, cohort: int = 60, calls: int = 4, seconds: int = 12, seed: int = 0
) -> Paths:
    """Make score paths that wander: a voice that is alike for each pair, and noise that averages.

    A look every 2 s. Impostors lie about 0.1 and genuine calls about 0.55.
    """
    generator = np.random.default_rng(seed)
    callers = [f"p{number}" for number in range(persons)]
    claims = callers + [f"c{number}" for number in range(cohort)]
    pair = dict(zip(claims, generator.normal(0.0, 0.08, len(claims)), strict=True))
    rows = [(caller, claimed) for caller in callers for _ in range(calls) for claimed in claims]
    looks = seconds // 2
    noise = generator.normal(0.0, 0.2, (len(rows), looks))
    averaged = np.cumsum(noise, axis=1) / np.arange(1, looks + 1)
    middle = np.array([0.55 if one == other else 0.1 + pair[other] for one, other in rows])
    scores = np.full((len(rows), seconds), np.nan)
    scores[:, 1::2] = middle[:, None] + averaged
    at = np.full((len(rows), seconds), np.nan)
    at[:, 1::2] = 1.98 * np.arange(1, looks + 1)
    return Paths(
        scores, scores.copy(), at, tuple(one for one, _ in rows), tuple(other for _, other in rows)
    )
