"""The bare engine: the shipped graph with windows ready in memory, nothing around it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import numpy as np
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from support.speech import noise


@dataclass(frozen=True)
class Layout:
    """How the bare engine uses two cores."""

    sessions: int
    threads: int
    batch: int
    spinning: bool = False


_SHAPES = ((1, 2, False), (1, 2, True), (2, 1, False))
LAYOUTS = tuple(
    Layout(sessions, threads, batch, spinning)
    for sessions, threads, spinning in _SHAPES
    for batch in (1, 8, 16)
)
ALONE = (Layout(1, 2, 1), Layout(1, 2, 1, True), Layout(1, 1, 1))


class BareEngine:
    """Sessions of the shipped graph, driven as fast as they go."""

    def __init__(self, frames: int = 198) -> None:
        bundle = load_bundle(shipped_bundle())
        self._backends = {
            (sessions, threads, spinning): [
                OnnxRuntimeCpu(bundle, threads=threads, spinning=spinning) for _ in range(sessions)
            ]
            for sessions, threads, spinning in (*_SHAPES, (1, 1, False))
        }
        self._frames = frames
        self._pcm = noise((160 * (frames - 1) + 400) / 16000)

    def windows_per_s(self, layout: Layout, seconds: float) -> float:
        """Measure one layout."""
        backends = self._backends[layout.sessions, layout.threads, layout.spinning]
        pcm = np.tile(self._pcm, (layout.batch, 1))
        rows = np.tile(np.arange(self._frames), (layout.batch, 1))
        counts = [0] * len(backends)
        begin = time.perf_counter()

        def work(index: int) -> None:
            while time.perf_counter() - begin < seconds:
                backends[index].embed(pcm, rows)
                counts[index] += layout.batch

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(backends))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - begin)

    def best(self, seconds: float = 2.0, *, concurrency: int = 16) -> Layout:
        """Find the fastest layout of the definition at a concurrency.

        At concurrency 1 there is one window at a time: batch 1, and one session at work.
        """
        layouts = LAYOUTS if concurrency > 1 else ALONE
        return max(layouts, key=lambda layout: self.windows_per_s(layout, seconds))
