"""A GPU's memory, stream and graphs through CUDA's runtime, with every failure named."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from speakerd_server.engine.devices import Device, cuda_runtime, look_for_gpus, told
from speakerd_server.errors import DeviceLost, DeviceOutOfMemory, DeviceUnavailable

_OUT_OF_MEMORY = 2
_UNAVAILABLE = frozenset((3, 34, 35, 36, 46, 100, 101, 803, 804))
"""Not initialised, stub library, driver too old, call for another device, in use, none there."""
LOST = frozenset((214, 220, 700, 702, 714, 715, 716, 717, 718, 719, 721))
"""After these CUDA fails every later call of the process."""


class CudaPlace:
    """One stream of a GPU and the memory of one lane.

    Made, used and closed on one thread: CUDA's current device is the thread's.

    Args:
        number: Of the GPU.

    Raises:
        DeviceUnavailable: There is no such GPU; says what was found.
    """

    kind = "cuda"

    def __init__(self, number: int) -> None:
        self.number = number
        self.runtime = use_gpu(number)
        modes = self.runtime.cudaStreamCaptureMode
        # Else a graph that ONNX Runtime records on another thread forbids this one to take memory.
        mine = modes.cudaStreamCaptureModeThreadLocal
        self.check(self.runtime.cudaThreadExchangeStreamCaptureMode(mine))
        kind = self.runtime.cudaStreamNonBlocking
        self.stream: Any = self.check(self.runtime.cudaStreamCreateWithFlags(kind))
        self._frees: list[tuple[Callable[[Any], Any], Any]] = []

    @property
    def stream_address(self) -> int:
        """Give the stream as a number, which other libraries take."""
        return int(self.stream)

    def mirrored(self, length: int, dtype: DTypeLike) -> PinnedArray:
        """Make an array of zeros in page-locked memory and on the GPU. Raises DeviceOutOfMemory."""
        runtime = self.runtime
        size_bytes = max(1, length) * np.dtype(dtype).itemsize
        pinned = self.check(runtime.cudaHostAlloc(size_bytes, runtime.cudaHostAllocDefault))
        self._frees.append((runtime.cudaFreeHost, pinned))
        address = self.check(runtime.cudaMalloc(size_bytes))
        self._frees.append((runtime.cudaFree, address))
        self.check(runtime.cudaMemsetAsync(address, 0, size_bytes, self.stream))
        content = (ctypes.c_byte * size_bytes).from_address(int(pinned))
        host: NDArray[Any] = np.ctypeslib.as_array(content).view(dtype)[:length]
        host[:] = 0
        return PinnedArray(self, host, int(address))

    def wait(self) -> None:
        """Return when all that was begun is done. Raises DeviceLost."""
        self.check(self.runtime.cudaStreamSynchronize(self.stream))

    def capture(self, work: Callable[[], None]) -> CudaGraph:
        """Record what `work` begins on the stream, without doing it.

        Raises:
            DeviceOutOfMemory: There is no room for the graph.
            RuntimeError: It cannot be recorded.
        """
        runtime = self.runtime
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.check(runtime.cudaStreamBeginCapture(self.stream, mode))
        try:
            work()
        finally:
            ended = runtime.cudaStreamEndCapture(self.stream)
        graph = self.check(ended)
        try:
            executable = self.check(runtime.cudaGraphInstantiate(graph, 0))
        finally:
            runtime.cudaGraphDestroy(graph)
        self._frees.append((runtime.cudaGraphExecDestroy, executable))
        return CudaGraph(self, executable)

    def close(self) -> None:
        """Give stream, graphs and memory back, whatever state the device is in."""
        while self._frees:
            free, resource = self._frees.pop()
            free(resource)
        self.runtime.cudaStreamDestroy(self.stream)

    def check(self, answer: tuple[Any, ...]) -> Any:
        """Give the value of a CUDA call, or raise its failure by name; see `checked`."""
        return checked(self.runtime, answer, self.number)


class PinnedArray:
    """An array in page-locked memory and its copy on a GPU; see `Mirrored`."""

    def __init__(self, place: CudaPlace, host: NDArray[Any], address: int) -> None:
        self._place, self.host, self.address = place, host, address

    def up(self, count: int) -> None:
        """Begin to copy the first `count` elements to the GPU."""
        kind = self._place.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.address, self.host.ctypes.data, count, kind)

    def down(self, count: int) -> None:
        """Begin to copy the first `count` elements from the GPU."""
        kind = self._place.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self.host.ctypes.data, self.address, count, kind)

    def _copy(self, to: int, of: int, count: int, kind: Any) -> None:
        size_bytes = count * self.host.itemsize
        place = self._place
        place.check(place.runtime.cudaMemcpyAsync(to, of, size_bytes, kind, place.stream))


class CudaGraph:
    """Recorded work, ready to be done again."""

    def __init__(self, place: CudaPlace, executable: Any) -> None:
        self._place, self._executable = place, executable

    def launch(self) -> None:
        """Begin the work on the stream that it was recorded on."""
        place = self._place
        place.check(place.runtime.cudaGraphLaunch(self._executable, place.stream))


def use_gpu(number: int) -> Any:
    """Make a GPU that of the calling thread, and give CUDA's runtime. Raises DeviceUnavailable."""
    runtime = cuda_runtime()
    checked(runtime, runtime.cudaSetDevice(number), number)
    return runtime


def checked(runtime: Any, answer: tuple[Any, ...], number: int) -> Any:
    """Give the value of a CUDA call on a GPU, or raise its failure by name.

    Raises:
        DeviceOutOfMemory: No memory is left.
        DeviceUnavailable: There is no such GPU, or no driver for it.
        DeviceLost: No later call can succeed.
        RuntimeError: Anything else.
    """
    status, *values = answer
    code = int(status)
    if code == 0:
        return values[0] if values else None
    text = told(runtime, status)
    if code == _OUT_OF_MEMORY:
        raise DeviceOutOfMemory(text)
    if code in _UNAVAILABLE:
        raise DeviceUnavailable(str(Device(number)), str(look_for_gpus()))
    if code in LOST:
        raise DeviceLost(text)
    raise RuntimeError(text)
