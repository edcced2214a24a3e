"""The processors as a device: sessions for its workers, and one for a lone window."""

from __future__ import annotations

import os
from pathlib import Path

from speakerd_server import scheduling
from speakerd_server.cards import Bundle
from speakerd_server.engine.lanes import Lanes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu

_WIDEST = 8
"""Processors that one window can use with profit."""
_MOST_SESSIONS = 8
"""Each takes memory for the weights. Workers that share one lose about 1 % to each other."""


def processors(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Give the processors that this process may use, a container's quota included."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text().split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


def cpu_lanes(bundle: Bundle, workers: int, threads_per_worker: int, cores: int) -> Lanes:
    """Open a bundle on the processors.

    Args:
        bundle: Verified.
        workers: Batches at the same time.
        threads_per_worker: Processors that each of them may use.
        cores: Processors that a lone window may use, as far as that pays.

    Raises:
        ModelUnusable: ONNX Runtime cannot load the graph, or the graph is not one of windows.
    """
    with scheduling.forward():
        sessions = [
            OnnxRuntimeCpu(bundle, threads=threads_per_worker)
            for _ in range(min(workers, _MOST_SESSIONS))
        ]
        wide_threads = min(cores, _WIDEST)
        wide = None
        if wide_threads > threads_per_worker:
            wide = OnnxRuntimeCpu(bundle, threads=wide_threads, spinning=True)
    narrow = [sessions[number % len(sessions)] for number in range(workers)]
    return Lanes(bundle.card.dim, narrow, wide)
