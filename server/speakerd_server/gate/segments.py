"""Probabilities of frames in, which frames are speech out: as soon as it is certain."""

from __future__ import annotations

from speakerd_server.gate.settings import SegmentRule


class Segments:
    """Decides frame by frame over one signal; remembers counts only.

    A frame begins speech at `begin_at` or above, later ones keep it up at `go_on_at` or above, and
    `hangover_frames` after the last such frame belong to it, as do `lead_frames` before the first.
    Speech whose frames with a voice, first to last, are fewer than `minimum_frames` is dropped.
    """

    def __init__(self, rule: SegmentRule) -> None:
        self._rule = rule
        self._frames = 0
        self._released = 0
        self._first: int | None = None
        self._last = 0

    @property
    def undecided_from(self) -> int:
        """Number of the oldest frame that may still be speech."""
        if self._first is None:
            return max(self._released, self._frames - self._rule.lead_frames)
        return self._released if self._certain else self._start

    @property
    def _start(self) -> int:
        first = self._first or 0
        return max(self._released, first - self._rule.lead_frames)

    @property
    def _certain(self) -> bool:
        return self._first is not None and self._voiced >= self._rule.minimum_frames

    @property
    def _voiced(self) -> int:
        return self._last + 1 - (self._first or 0)

    def push(self, probability: float) -> range:
        """Take the next frame; give the frames, in order, that are known to be speech by it."""
        at, rule = self._frames, self._rule
        self._frames += 1
        if self._first is None:
            if probability < rule.begin_at:
                return range(0)
            self._first = self._last = at
        elif probability >= rule.go_on_at:
            self._last = at
        elif at - self._last > rule.hangover_frames:
            self._first = None
            return range(0)
        return self._release() if self._certain else range(0)

    def _release(self) -> range:
        """Let go of everything up to the newest frame, which is voice or hangover."""
        found = range(self._start, self._frames)
        self._released = self._frames
        return found
