"""Scores of whole calls, second by second: who calls, who is claimed, what the score was when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from speakerd_server.evaluation.joined_calls import JoinedCall, Voices

Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

MOST_CLAIMS = 300
"""Persons that one call is compared with; of more, so many are drawn."""
MOST_PATHS = 200_000
"""In all: beyond it, fewer claims of each call are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """n calls compared with claims, over the seconds of net speech 0 to S.

    A column stands for the looks from that second up to the next; NaN: there was none.
    """

    highest: Float64
    """float64[n, S]: highest cosine of the looks in a second."""
    lowest: Float64
    """float64[n, S]: lowest cosine of the looks in a second."""
    seconds: Float64
    """float64[n, S]: net speech at the last look of a second."""
    caller: tuple[str, ...]
    """Who speaks."""
    claimed: tuple[str, ...]
    """Whose voiceprint it is; of the cohort, a recording's id."""

    @property
    def target(self) -> Bool:
        """bool[n]: the caller is the claimed person."""
        sides = zip(self.caller, self.claimed, strict=True)
        return np.array([caller == claimed for caller, claimed in sides], np.bool_)

    @property
    def pair(self) -> NDArray[np.intp]:
        """intp[n]: number of each path's pair of persons, whichever of the two calls."""
        sides = np.sort([self.caller, self.claimed], axis=0)
        _, numbers = np.unique(sides, axis=1, return_inverse=True)
        return np.asarray(numbers, np.intp).reshape(-1)

    def only(self, kept: Bool) -> Paths:
        """Give the paths for which bool[n] `kept` is true."""
        rows = np.flatnonzero(kept).tolist()
        return Paths(
            self.highest[kept],
            self.lowest[kept],
            self.seconds[kept],
            tuple(self.caller[row] for row in rows),
            tuple(self.claimed[row] for row in rows),
        )


def score_paths(voices: Voices, maximum_s: int, seed: int) -> Paths:
    """Compare every call with its own person, with the others of its round and with the cohort."""
    persons = voices.persons
    cohort = {name: _unit(mean) for name, mean in voices.cohort.items()}
    others = [*persons, *cohort]
    claims = min(MOST_CLAIMS, max(1, MOST_PATHS // max(1, len(voices.calls))))
    rows = []
    for number, call in enumerate(voices.calls):
        named = [name for name in others if name != call.person]
        if len(named) > claims:
            chosen = np.random.default_rng([seed, number]).choice(len(named), claims, replace=False)
            named = [named[one] for one in sorted(chosen)]
        rows += list(_compared(call, [call.person, *named], voices, cohort, maximum_s))
    highest, lowest, seconds, caller, claimed = zip(*rows, strict=True)
    return Paths(np.array(highest), np.array(lowest), np.array(seconds), caller, claimed)


def _compared(
    call: JoinedCall,
    named: list[str],
    voices: Voices,
    cohort: dict[str, Float64],
    maximum_s: int,
) -> Iterator[tuple[Float64, Float64, Float64, str, str]]:
    vectors = [
        cohort[name] if name in cohort else _unit(voices.enrolled[name, call.round])
        for name in named
    ]
    means = call.heard.means / np.linalg.norm(call.heard.means, axis=1, keepdims=True)
    cosines = np.array(vectors) @ means.T
    seconds = call.heard.seconds
    column = np.minimum(seconds.astype(np.intp), maximum_s - 1)
    at = np.full(maximum_s, np.nan)
    at[column] = seconds
    for name, scores in zip(named, cosines, strict=True):
        high, low = np.full(maximum_s, -np.inf), np.full(maximum_s, np.inf)
        np.maximum.at(high, column, scores)
        np.minimum.at(low, column, scores)
        high[np.isinf(high)] = low[np.isinf(low)] = np.nan
        yield high, low, at, call.person, name


def _unit(vector: Float64) -> Float64:
    return vector / np.linalg.norm(vector)
