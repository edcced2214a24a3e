"""Runs a TensorRT engine on a lane's memory, with a CUDA graph for each batch size."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from speakerd_server.engine.cuda_place import CudaGraph, CudaPlace, use_gpu
from speakerd_server.engine.engine_file import EngineFile
from speakerd_server.engine.lane import (
    Lane,
    LaneMemory,
    LaneSizes,
    bucket_of,
    buckets,
    lane_memory,
)
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.tensorrt_library import Library, Said, collecting_logger
from speakerd_server.errors import DeviceOutOfMemory, DeviceUnavailable

_log = logging.getLogger(__name__)

USUAL, OTHER = 0, 1
"""Numbers of the profiles."""


class SharedEngine:
    """One engine in a GPU's memory, which all lanes share.

    Args:
        library: That built it.
        engine: Checked when it was read.
        number: Of the GPU, which becomes that of the calling thread.

    Raises:
        DeviceUnavailable: There is no such GPU, or the library cannot load it there; says why.
    """

    def __init__(self, library: Library, engine: EngineFile, number: int) -> None:
        use_gpu(number)
        self.library, kept = library, Said()
        self._said = kept
        self._logger = collecting_logger(library.module, lambda: kept.lines)
        loaded = None
        # So its bindings say that the library made no runtime.
        with suppress(TypeError):
            self._runtime = library.module.Runtime(self._logger)
            loaded = self._runtime.deserialize_cuda_engine(engine.plan)
        if loaded is None:
            said = "; ".join(self.lines[:2]) or "it does not say why"
            asked = f"gpu:{number} for an engine of {engine.key.model}"
            found = f"{library.name} {library.version}, which cannot load it: {said}"
            raise DeviceUnavailable(asked, found)
        self.engine: Any = loaded

    @property
    def lines(self) -> list[str]:
        """Give the errors that were said on the calling thread, which lanes do not share."""
        return self._said.lines

    def context(self, profile: int, place: CudaPlace) -> Any:
        """Make a context for one profile, with memory of its own.

        Raises:
            DeviceOutOfMemory: There is no memory for it.
        """
        strategy = self.library.module.ExecutionContextAllocationStrategy.ON_PROFILE_CHANGE
        if hasattr(self.engine, "create_runtime_config"):
            config = self.engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            specialise(self.library.module, config, profile)
            context = self.engine.create_execution_context(config)
        else:
            context = self.engine.create_execution_context(strategy)
        if context is None or not context.set_optimization_profile_async(
            profile, place.stream_address
        ):
            raise DeviceOutOfMemory("; ".join(self.lines[-2:]) or "TensorRT has no room")
        place.wait()
        return context


class TensorRtProgram:
    """A `Program`: usual windows in buckets by graphs, any other window as it comes.

    Args:
        shared: The engine.
        place: Where the memory is.
        memory: That both contexts are bound to.
        sizes: Of the lane.

    Raises:
        DeviceOutOfMemory: The GPU has no memory for it.
    """

    def __init__(
        self, shared: SharedEngine, place: CudaPlace, memory: LaneMemory, sizes: LaneSizes
    ) -> None:
        self._shared, self._place, self._sizes = shared, place, sizes
        self._buckets = buckets(sizes.batch_windows)
        self._usual, self._other = (shared.context(number, place) for number in (USUAL, OTHER))
        for context in (self._usual, self._other):
            context.set_tensor_address("pcm", memory.pcm.address)
            context.set_tensor_address("rows", memory.rows.address)
            context.set_tensor_address("embeddings", memory.embeddings.address)
        self._graphs: dict[int, CudaGraph] = {}

    def padded(self, windows: int, frames: int) -> int:
        """Give the bucket of usual windows, and others as they are."""
        usual = frames == self._sizes.window_frames
        return bucket_of(windows, self._buckets) if usual else windows

    def run(self, windows: int, frames: int) -> None:
        """Begin to embed; see `Program.run`."""
        if frames != self._sizes.window_frames:
            self._begin(self._other, windows, frames)
        elif windows in self._graphs:
            self._graphs[windows].launch()
        else:
            self._begin(self._usual, windows, frames)

    def warm(self) -> None:
        """Run every bucket and record its graph, so that nothing is prepared under traffic.

        Where a graph cannot be recorded, its bucket is run without.
        """
        frames = self._sizes.window_frames
        for size in self._buckets:
            self._begin(self._usual, size, frames)
            self._place.wait()
            try:
                self._graphs[size] = self._place.capture(
                    lambda size=size: self._begin(self._usual, size, frames)  # type: ignore[misc]
                )
            except RuntimeError as error:
                _log.warning("no cuda graphs", extra={"cause": str(error)})
                self._place.wait()
        self._begin(self._other, 1, self._sizes.longest_frames)
        self._place.wait()

    def close(self) -> None:
        """Let go of graphs, contexts and the engine, which ends here with the last lane."""
        self._graphs.clear()
        del self._usual, self._other, self._shared

    def _begin(self, context: Any, windows: int, frames: int) -> None:
        lines = self._shared.lines
        lines.clear()
        context.set_input_shape("pcm", (windows, buffer_samples(frames)))
        context.set_input_shape("rows", (windows, frames))
        if context.execute_async_v3(self._place.stream_address):
            return
        said = "; ".join(lines) or "TensorRT does not say why"
        # CUDA's own error, where there is one, tells a lost GPU from a full one.
        self._place.check((self._place.runtime.cudaGetLastError()[0],))
        if "memory" in said.lower():
            raise DeviceOutOfMemory(said)
        raise RuntimeError(f"TensorRT failed: {said}")


def specialise(module: Any, config: Any, profile: int) -> None:
    """Say when kernels for new sizes are compiled; only the library for RTX does that at all."""
    kinds = getattr(module, "DynamicShapesKernelSpecializationStrategy", None)
    if kinds is None:
        return
    # What a graph records must be final; what comes once must not wait for a compiler.
    chosen = kinds.EAGER if profile == USUAL else kinds.LAZY
    config.dynamic_shapes_kernel_specialization_strategy = chosen


def open_tensorrt_lane(shared: SharedEngine, sizes: LaneSizes, number: int) -> Lane:
    """Open one lane over an engine, every bucket prepared; on the thread that will use it.

    Raises:
        DeviceUnavailable: There is no such GPU.
        DeviceOutOfMemory: It has no memory for the lane.
    """
    place = CudaPlace(number)
    try:
        memory = lane_memory(place, sizes)
        program = TensorRtProgram(shared, place, memory, sizes)
        program.warm()
    except BaseException:
        place.close()
        raise
    return Lane(place, memory, program, sizes)
