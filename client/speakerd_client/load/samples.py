"""Times of one kind, as many as there may be, and the percentiles of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

_LONGEST_S = 100_000.0
_HELD = 1024
_DIGITS = 13


@dataclass(frozen=True, slots=True)
class Figure:
    """What a row of a table says about times, in milliseconds; None without any."""

    count: int
    """How many there were."""
    mean: float | None = None
    """Their mean."""
    p50: float | None = None
    """So many percent, by nearest rank, are no longer."""
    p90: float | None = None
    """The same."""
    p99: float | None = None
    """The same."""
    max: float | None = None
    """The longest one."""


class Samples:
    """Every time that was measured, counted by value, in bounded memory.

    Percentiles are of all of them, by nearest rank, none is thinned out. A value is kept in whole
    microseconds of 13 binary digits (to 0.012 %), up to 100000 s, so that there are at most
    110 000 different ones, however long the load is. Count, sum and maximum are exact.
    """

    __slots__ = ("_counts", "_held", "_longest_s", "_number", "_sum_s")

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._held: list[float] = []
        self._number, self._sum_s, self._longest_s = 0, 0.0, 0.0

    def __len__(self) -> int:
        return self._number + len(self._held)

    def add(self, seconds: float) -> None:
        """Count one time."""
        self._held.append(seconds)
        if len(self._held) >= _HELD:
            self._fold()

    def merge(self, other: Samples) -> None:
        """Count all of another's, such as those of another process."""
        self._fold()
        other._fold()
        self._counts.update(other._counts)
        self._number += other._number
        self._sum_s += other._sum_s
        self._longest_s = max(self._longest_s, other._longest_s)

    def percentile_ms(self, percent: float) -> float | None:
        """Give the least value that at least so many percent do not exceed; None without any."""
        self._fold()
        wanted, seen = self._number * percent / 100, 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            if seen >= wanted:
                return _ms(min(value / 1e6, self._longest_s))
        return None

    def figure(self) -> Figure:
        """Sum up."""
        self._fold()
        if not self._number:
            return Figure(0)
        p50, p90, p99 = (self.percentile_ms(percent) for percent in (50, 90, 99))
        mean_ms, longest_ms = _ms(self._sum_s / self._number), _ms(self._longest_s)
        return Figure(self._number, mean_ms, p50, p90, p99, longest_ms)

    def _fold(self) -> None:
        if not self._held:
            return
        kept = [min(_LONGEST_S, max(0.0, value)) for value in self._held]
        self._held.clear()
        self._number += len(kept)
        self._sum_s += sum(kept)
        self._longest_s = max(self._longest_s, *kept)
        self._counts.update([_rounded(round(1e6 * value)) for value in kept])


def _rounded(microseconds: int) -> int:
    """Round to _DIGITS binary digits, half up."""
    shift = microseconds.bit_length() - _DIGITS
    if shift <= 0:
        return microseconds
    return (microseconds + (1 << shift - 1)) >> shift << shift


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
