"""Where windows are embedded, in what batches, and how many may wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from speakerd_server.engine.devices import DEVICES, DEVICES_WRITTEN


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where windows are embedded, in what batches, and how many may wait."""

    devices: tuple[str, ...] = field(
        default=("cpu",), metadata={"each": DEVICES, "written": f"write {DEVICES_WRITTEN}"}
    )
    """What computes: cpu, gpu:N for the GPU that CUDA gives this number, and kserve:HOST:PORT for a
    server elsewhere. Several have a process each; cpu may be there more than once."""
    workers: int = field(default=0, metadata={"minimum": 0, "maximum": 256})
    """Batches that are computed at the same time; 0: one for each processor, two on a GPU."""
    threads_per_worker: int = field(default=1, metadata={"minimum": 1, "maximum": 256})
    """Processors that one batch may use; many batches of one thread give the most windows."""
    maximum_batch_windows: int = field(default=0, metadata={"minimum": 0, "maximum": 256})
    """Windows in one batch at most; 0: as many as pay, measured at the start."""
    maximum_batch_frames: int = field(default=0, metadata={"minimum": 0, "maximum": 1000000})
    """Frames of 10 ms in one batch at most, a single longer window goes alone; 0: 2400 on
    processors, and full batches of windows of 3 s on a GPU."""
    maximum_batch_ms: float = field(default=200.0, metadata={"minimum": 1.0, "maximum": 60000.0})
    """No batch size is chosen that takes longer, but one window always may."""
    maximum_wait_ms: float = field(default=5.0, metadata={"minimum": 0.0, "maximum": 1000.0})
    """Longest wait for others to share a batch while a worker is free. It waits at most for what a
    batch costs besides its windows, and only while another one can be expected meanwhile."""
    queue_windows: int = field(default=512, metadata={"minimum": 1, "maximum": 1000000})
    """Windows that may wait; more are refused at once."""
    offline_windows: int = field(default=16, metadata={"minimum": 1, "maximum": 1000000})
    """Windows of whole recordings in the queue or at work at once; others wait with their calls."""
