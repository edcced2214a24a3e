"""What an engine did with one model since it was loaded, as numbers that can be added up."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speakerd_server import metrics
from speakerd_server.engine.cost import Cost


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """What was done with one model on one device."""

    device: str = ""
    """Where it was done."""
    queued_windows: int = 0
    """Waiting now."""
    maximum_queued_windows: int = 0
    """Most that ever waited on the device, of all its models."""
    windows_embedded: int = 0
    """Embeddings handed out."""
    batches: int = 0
    """Computed, failed ones included."""
    failed_batches: int = 0
    """In which at least one window got no embedding."""
    live_queue_s: float = 0.0
    """Seconds that live windows waited, added up."""
    live_windows: int = 0
    """Live windows that were taken from the queue."""
    offline_queue_s: float = 0.0
    """Seconds that windows of whole recordings waited, added up."""
    offline_windows: int = 0
    """Windows of whole recordings that were taken from the queue."""
    compute_s: float = 0.0
    """Seconds of all batches, added up."""
    batch_sizes: Mapping[int, int] = field(default_factory=dict)
    """Batches by their number of windows."""
    cost: Cost | None = None
    """As measured when the model was loaded."""
    dead: str | None = None
    """Why the engine died, or is away; None while it works."""


class Tally:
    """Counts one model's work on one device, here and in the metrics."""

    def __init__(self, device: str, model: str, cost: Cost) -> None:
        self._device, self._cost = device, cost
        self._lock = threading.Lock()
        self._windows = self._batches = self._failed = 0
        self._compute_s = 0.0
        self._queue_s = {True: 0.0, False: 0.0}
        self._taken = {True: 0, False: 0}
        self._sizes: Counter[int] = Counter()
        self._queue_seconds = {
            live: metrics.QUEUE_SECONDS.labels(model, "live" if live else "offline")
            for live in (True, False)
        }
        self._batch_windows = metrics.BATCH_WINDOWS.labels(model, device)
        self._compute_seconds = metrics.COMPUTE_SECONDS.labels(model, device)
        self._embedded = metrics.WINDOWS_EMBEDDED.labels(model, device)

    def taken(self, waited: Sequence[tuple[bool, float]]) -> None:
        """Count the windows of a batch that is about to be computed, from any thread.

        For each: whether it is live, and its seconds in the queue.
        """
        with self._lock:
            for live, seconds in waited:
                self._queue_s[live] += seconds
                self._taken[live] += 1
        for live, seconds in waited:
            self._queue_seconds[live].observe(seconds)

    def computed(self, windows: int, failed: int, compute_s: float) -> None:
        """Count a batch, of so many windows, of which some got no embedding."""
        self._batches += 1
        self._failed += failed > 0
        self._windows += windows - failed
        self._compute_s += compute_s
        self._sizes[windows] += 1
        self._batch_windows.observe(windows)
        self._compute_seconds.observe(compute_s)
        self._embedded.inc(windows - failed)

    def statistics(
        self, queued_windows: int, maximum_queued_windows: int, dead: str | None
    ) -> EngineStatistics:
        """Give the counts so far."""
        return EngineStatistics(
            device=self._device,
            queued_windows=queued_windows,
            maximum_queued_windows=maximum_queued_windows,
            windows_embedded=self._windows,
            batches=self._batches,
            failed_batches=self._failed,
            live_queue_s=self._queue_s[True],
            live_windows=self._taken[True],
            offline_queue_s=self._queue_s[False],
            offline_windows=self._taken[False],
            compute_s=self._compute_s,
            batch_sizes=dict(sorted(self._sizes.items())),
            cost=self._cost,
            dead=dead,
        )
