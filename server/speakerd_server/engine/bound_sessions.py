"""ONNX Runtime with its inputs and output bound to a lane's memory: no array is made for a batch.

The same code runs on the processor's memory and on a GPU's; only provider and place differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort

from speakerd_server.engine.cuda_place import LOST
from speakerd_server.engine.lane import LaneMemory, LaneSizes, bucket_of, buckets
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.place import Place
from speakerd_server.errors import DeviceLost, DeviceOutOfMemory

_LARGE_FRAMES = 4096
_NO_MEMORY = re.compile(
    r"out of memory|failed to allocate|smaller than requested|_ALLOC(?:ATION)?_FAILED",
    re.IGNORECASE,
)
_CUDA_FAILURE = re.compile(r"CUDA (?:failure|error) (\d+)")


class BoundSessions:
    """A `Program` of two sessions: windows of the usual length in buckets, and any other window.

    Args:
        usual: Of the graph for N and T of the usual windows.
        other: Of the graph for any N and T.
        place: Where the memory is.
        memory: That both are bound to.
        sizes: Of the lane.
    """

    def __init__(
        self,
        usual: ort.InferenceSession,
        other: ort.InferenceSession,
        place: Place,
        memory: LaneMemory,
        sizes: LaneSizes,
    ) -> None:
        self._usual, self._other, self._place = usual, other, place
        self._memory, self._sizes = memory, sizes
        self._buckets = buckets(sizes.batch_windows)
        # Graph 0 is ONNX Runtime's own; each bucket captures and replays under a number of its own.
        self._ready = {
            size: (self._bound(usual, size, sizes.window_frames), self._options(gpu_graph_id=at))
            for at, size in enumerate(self._buckets, start=1)
        }
        shrinking = f"{'gpu' if place.kind == 'cuda' else 'cpu'}:{place.number}"
        self._small = self._options()
        self._large = self._options(**{"memory.enable_memory_arena_shrinkage": shrinking})

    def padded(self, windows: int, frames: int) -> int:
        """Give the bucket of usual windows, and others as they are."""
        usual = frames == self._sizes.window_frames
        return bucket_of(windows, self._buckets) if usual else windows

    def run(self, windows: int, frames: int) -> None:
        """Begin to embed; see `Program.run`."""
        if frames == self._sizes.window_frames:
            binding, options = self._ready[windows]
            _named(lambda: self._usual.run_with_iobinding(binding, options))
            return
        binding = self._bound(self._other, windows, frames)
        options = self._large if windows * frames > _LARGE_FRAMES else self._small
        _named(lambda: self._other.run_with_iobinding(binding, options))

    def warm(self) -> None:
        """Run every bucket once, so that nothing is prepared under traffic."""
        for size in self._buckets:
            self.run(size, self._sizes.window_frames)
            self._place.wait()

    def close(self) -> None:
        """Let go of sessions and bindings."""
        self._ready.clear()
        del self._usual, self._other

    def _bound(self, session: ort.InferenceSession, windows: int, frames: int) -> ort.IOBinding:
        binding, memory = session.io_binding(), self._memory
        where = self._place.kind, self._place.number
        pcm_shape = [windows, buffer_samples(frames)]
        binding.bind_input("pcm", *where, np.float32, pcm_shape, memory.pcm.address)
        binding.bind_input("rows", *where, np.int64, [windows, frames], memory.rows.address)
        shape, address = [windows, self._sizes.dim], memory.embeddings.address
        binding.bind_output("embeddings", *where, np.float32, shape, address)
        return binding

    def _options(self, **entries: Any) -> ort.RunOptions:
        options = ort.RunOptions()
        if self._place.kind == "cuda":
            # The lane waits once, for the copy of the embeddings behind the run.
            entries["disable_synchronize_execution_providers"] = 1
        for key, value in entries.items():
            options.add_run_config_entry(key, str(value))
        return options


def failure_of(error: Exception) -> DeviceOutOfMemory | DeviceLost | None:
    """Give what ONNX Runtime only says in words as the failure that it is; None for any other."""
    text = str(error)
    code = _CUDA_FAILURE.search(text)
    if code is not None and int(code[1]) in LOST:
        return DeviceLost(text)
    return DeviceOutOfMemory(text) if _NO_MEMORY.search(text) else None


def _named(run: Callable[[], None]) -> None:
    try:
        run()
    # ONNX Runtime's exceptions share no base class but Exception.
    except Exception as error:
        named = failure_of(error)
        if named is not None:
            raise named from error
        raise
