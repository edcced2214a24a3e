"""Looking for the most streams that are carried: where to try next, given how it went so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Purpose = Literal["grow", "bisect", "confirm"]
GROWTH = 2.0
FIRST = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to be tried."""

    streams: int
    """How many."""
    purpose: Purpose
    """Why so many."""
    attempt: int
    """1, or 2 for another try after a miss."""


class Search:
    """Grows from `first` by GROWTH until a number is missed, then bisects, then confirms.

    A number is missed when two attempts at it fail, so one noisy step costs time and not the
    result. The number found is tried once more; where that is missed as well, it was too high, and
    the search goes on below it. Ask `trial`, try it, `report`; until `trial` is None.
    """

    def __init__(self, maximum: int, resolution: float, first: int = FIRST) -> None:
        """Search from 1 to `maximum`, to within `resolution` (0.05: 5 %) of the number found."""
        self._maximum, self._resolution = maximum, resolution
        self._first = min(first, maximum)
        self._carried: list[int] = []
        self._missed = maximum + 1
        self._attempt = 1
        self.confirmed = False
        """True once the number found was carried again."""

    @property
    def found(self) -> int:
        """The most streams carried so far; 0: none."""
        return max(self._carried, default=0)

    @property
    def bound_was_reached(self) -> bool:
        """True when the maximum itself was carried, so that more may be."""
        return self.found == self._maximum

    @property
    def trial(self) -> Trial | None:
        """What is to be tried next; None: the search is over."""
        low, high = self.found, self._missed
        if self.confirmed:
            return None
        if high > self._maximum and low < self._maximum:
            wanted = max(self._first, math.ceil(low * GROWTH))
            return Trial(min(self._maximum, wanted), "grow", self._attempt)
        if high - low > max(1, math.floor(self._resolution * low)):
            return Trial((low + high) // 2, "bisect", self._attempt)
        return Trial(low, "confirm", self._attempt) if low else None

    def report(self, is_carried: bool) -> None:
        """Say how the trial went. ValueError when there was none."""
        trial = self.trial
        if trial is None:
            raise ValueError("the search is over")
        if is_carried:
            self._attempt = 1
            self._carried.append(trial.streams)
            self.confirmed = trial.purpose == "confirm"
        elif self._attempt == 1:
            self._attempt = 2
        else:
            self._attempt = 1
            self._missed = trial.streams
            self._carried = [each for each in self._carried if each < trial.streams]
