"""How many windows come, by the recent past."""

from __future__ import annotations

import time

_MEMORY = 0.05
"""Share of the newest gap in the average: some twenty gaps count."""


class ArrivalRate:
    """Mean rate of the last arrivals; falls while nothing comes."""

    def __init__(self) -> None:
        self._gap_s = 0.0
        self._last_s: float | None = None

    def count(self, now_s: float) -> None:
        """Take note of an arrival at time.monotonic() `now_s`."""
        if self._last_s is not None:
            gap_s = max(0.0, now_s - self._last_s)
            known = self._gap_s > 0.0
            self._gap_s += (gap_s - self._gap_s) * (_MEMORY if known else 1.0)
        self._last_s = now_s

    @property
    def per_s(self) -> float:
        """Arrivals for each second now; 0 before the second one."""
        if self._last_s is None or self._gap_s <= 0.0:
            return 0.0
        return 1.0 / max(self._gap_s, time.monotonic() - self._last_s)
