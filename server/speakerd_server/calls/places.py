"""How many calls go on, and how many may: counted together by all processes that take calls."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

from speakerd_server import metrics
from speakerd_server.errors import Draining, TooManyCalls, TooManyStreams

_CELLS = 3


class Places:
    """Places for live and unary calls.

    Args:
        maximum_streams: Live calls of all processes at once.
        maximum_unary_calls: Unary calls of all processes that embed at once.
        maximum_unary_audio_mib: MiB of their audio at once.
        counts: int64 cells, `cells(processes)` of them, that all processes see; each writes those
            of its own alone. Two that take the last place in the same instant both get it.
        process: Number of this process, from 0.
    """

    def __init__(
        self,
        maximum_streams: int,
        maximum_unary_calls: int,
        maximum_unary_audio_mib: int,
        counts: memoryview[int] | None = None,
        process: int = 0,
    ) -> None:
        self.maximum_streams = maximum_streams
        self._maximum_unary_calls = maximum_unary_calls
        self._maximum_unary_mib = maximum_unary_audio_mib
        self._counts = memoryview(array("q", [0] * _CELLS)) if counts is None else counts
        self._streams, self._unary, self._unary_bytes = range(
            _CELLS * process, _CELLS * process + 3
        )
        self.draining = False
        """Whether new calls are refused."""
        self.stopping = False
        """Whether that is for good."""
        self.quiet = asyncio.Event()
        self.quiet.set()

    @staticmethod
    def cells(processes: int) -> int:
        """Give the number of cells that so many processes need."""
        return _CELLS * processes

    @staticmethod
    def open_calls_in(counts: memoryview[int]) -> int:
        """Count the calls of all processes that a drain waits for."""
        return sum(counts[0::_CELLS]) + sum(counts[1::_CELLS])

    @staticmethod
    def streams_in(counts: memoryview[int]) -> int:
        """Count the live calls of all processes."""
        return sum(counts[0::_CELLS])

    @staticmethod
    def clear(counts: memoryview[int], process: int) -> None:
        """Forget the calls of a process that is gone."""
        for cell in range(_CELLS * process, _CELLS * (process + 1)):
            counts[cell] = 0

    @property
    def streams(self) -> int:
        """Live calls of all processes."""
        return self.streams_in(self._counts)

    @property
    def open_calls(self) -> int:
        """Calls of this process that a drain waits for."""
        return self._counts[self._streams] + self._counts[self._unary]

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Hold a place for a live call; raises Draining or TooManyStreams at once."""
        self._refuse_when_draining()
        if self.streams >= self.maximum_streams:
            raise TooManyStreams(self.maximum_streams)
        self._count(self._streams, 1)
        metrics.LIVE_STREAMS.set(self._counts[self._streams])
        try:
            yield
        finally:
            self._count(self._streams, -1)
            metrics.LIVE_STREAMS.set(self._counts[self._streams])

    @contextmanager
    def unary(self, audio_bytes: int) -> Iterator[None]:
        """Hold a place for a unary call; raises Draining or TooManyCalls at once."""
        self._refuse_when_draining()
        calls, taken_bytes = sum(self._counts[1::_CELLS]), sum(self._counts[2::_CELLS])
        limit_bytes = self._maximum_unary_mib << 20
        if calls >= self._maximum_unary_calls or taken_bytes + audio_bytes > limit_bytes:
            raise TooManyCalls(calls, self._maximum_unary_mib)
        self._count(self._unary, 1)
        self._count(self._unary_bytes, audio_bytes)
        try:
            yield
        finally:
            self._count(self._unary_bytes, -audio_bytes)
            self._count(self._unary, -1)

    def _count(self, cell: int, amount: int) -> None:
        self._counts[cell] += amount
        if self.open_calls:
            self.quiet.clear()
        else:
            self.quiet.set()

    def _refuse_when_draining(self) -> None:
        if self.draining:
            raise Draining
