"""The bare engine: the shipped graph with windows ready in memory, nothing around it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from support.speech import noise

BATCHES = (1, 8, 16)


@dataclass(frozen=True)
class Layout:
    """How the bare engine uses its cores."""

    sessions: int
    threads: int
    batch: int
    spinning: bool = False


def layouts(cores: int) -> tuple[Layout, ...]:
    """One session with all cores, its threads spinning or not, or a session for each core."""
    wide = () if cores == 1 else (Layout(1, cores, 1), Layout(1, cores, 1, spinning=True))
    shapes = (Layout(cores, 1, 1), *wide)
    return tuple(replace(shape, batch=batch) for shape in shapes for batch in BATCHES)


def layouts_alone(cores: int) -> tuple[Layout, ...]:
    """With one window at a time: batch 1, and one session at work."""
    narrow = Layout(1, 1, 1)
    if cores == 1:
        return (narrow,)
    return (narrow, Layout(1, cores, 1), Layout(1, cores, 1, spinning=True))


class BareEngine:
    """Sessions of the shipped graph, driven as fast as they go.

    Args:
        frames: Of a window.
        cores: That it may use; it is up to the caller to see to that.
    """

    def __init__(self, frames: int = 198, cores: int = 2) -> None:
        self._bundle, self._frames, self._cores = load_bundle(shipped_bundle()), frames, cores
        self._pcm = noise((160 * (frames - 1) + 400) / 16000)
        self._backends: dict[Layout, list[OnnxRuntimeCpu]] = {}

    def windows_per_s(self, layout: Layout, seconds: float) -> float:
        """Measure one layout."""
        backends = self._sessions(layout)
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
        """Find the fastest layout of the definition at a concurrency."""
        chosen = layouts(self._cores) if concurrency > 1 else layouts_alone(self._cores)
        return max(chosen, key=lambda layout: self.windows_per_s(layout, seconds))

    def _sessions(self, layout: Layout) -> list[OnnxRuntimeCpu]:
        shape = replace(layout, batch=1)
        if shape not in self._backends:
            self._backends[shape] = [
                OnnxRuntimeCpu(self._bundle, threads=shape.threads, spinning=shape.spinning)
                for _ in range(shape.sessions)
            ]
        return self._backends[shape]
