"""Counts of what inference requests did, for each model, as Triton counts it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from speakerd_server.calls.inference_values import ModelStatistics, Spent

_NS = 1e9


class Begun:
    """When the batch of one window was begun, once it was; told by the engine."""

    __slots__ = ("at_s", "windows")

    def __init__(self) -> None:
        self.at_s = 0.0
        self.windows = 1

    def told(self, at_s: float, windows: int) -> None:
        """Take note: by time.monotonic(), with so many windows in it."""
        self.at_s, self.windows = at_s, windows


class _Sum:
    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count, self.seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += max(0.0, seconds)

    @property
    def spent(self) -> Spent:
        return Spent(self.count, round(self.seconds * _NS))


class ModelCounts:
    """The counts of one model."""

    def __init__(self) -> None:
        self._last_ms = 0
        self._inferences = 0
        self._success, self._fail, self._queue = _Sum(), _Sum(), _Sum()
        self._input, self._infer, self._output = _Sum(), _Sum(), _Sum()
        self._sizes: dict[int, _Sum] = {}

    def arrived(self) -> float:
        """Count a request that came; gives time.monotonic() for `answered` and `failed`."""
        self._last_ms = time.time_ns() // 1_000_000
        return time.monotonic()

    def failed(self, arrived_s: float) -> None:
        """Count a request that got no answer."""
        self._fail.add(time.monotonic() - arrived_s)

    def answered(
        self, arrived_s: float, ready_s: float, embedded_s: float, windows: Sequence[Begun]
    ) -> None:
        """Count a request that is answered now.

        Args:
            arrived_s: As `arrived` gave it.
            ready_s: When its first window was there to be queued.
            embedded_s: When its last embedding was there.
            windows: All of them, at least one.
        """
        begun_s = max(ready_s, min(one.at_s for one in windows))
        now_s = time.monotonic()
        self._inferences += len(windows)
        self._success.add(now_s - arrived_s)
        self._input.add(ready_s - arrived_s)
        self._queue.add(begun_s - ready_s)
        self._infer.add(embedded_s - begun_s)
        self._output.add(now_s - embedded_s)
        for one in windows:
            self._sizes.setdefault(one.windows, _Sum()).add(embedded_s - max(ready_s, one.at_s))

    def statistics(self, name: str, version: str) -> ModelStatistics:
        """Give the counts so far."""
        # A window of a batch of n counts as its nth part, so that shared batches add up rightly.
        sizes = dict(sorted(self._sizes.items()))
        batches = {
            windows: Spent(one.count // windows, round(one.seconds * _NS / windows))
            for windows, one in sizes.items()
        }
        return ModelStatistics(
            name=name,
            version=version,
            last_inference_ms=self._last_ms,
            inference_count=self._inferences,
            execution_count=int(sum(one.count / windows for windows, one in sizes.items()) + 1e-6),
            success=self._success.spent,
            fail=self._fail.spent,
            queue=self._queue.spent,
            compute_input=self._input.spent,
            compute_infer=self._infer.spent,
            compute_output=self._output.spent,
            batches=batches,
        )
