"""Where a model computes: the processor or a GPU, and what GPUs this host has."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from speakerd_server.errors import DeviceUnavailable, OnnxRuntimeTwice

CUDA_PROVIDER = "CUDAExecutionProvider"
CPU_PROVIDER = "CPUExecutionProvider"

DEVICES = r"cpu|gpu:[0-9]{1,3}|kserve:(?:\[[0-9a-fA-F:.]+\]|[^:\[\]\s=]+):[0-9]{1,5}"
"""Pattern of all that `engine.devices` may name."""
DEVICES_WRITTEN = "cpu, gpu:N or kserve:HOST:PORT"

_DEVICE = re.compile(r"cpu|gpu:([0-9]{1,3})")
_REMOTE = "kserve:"
_RUNTIME = "cuda.bindings.runtime"
_ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True, slots=True)
class Device:
    """The processor, or one GPU."""

    gpu: int | None = None
    """Number of the GPU as CUDA counts them; None: the processor."""

    def __str__(self) -> str:
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this host."""

    number: int
    """As CUDA counts them."""
    name: str
    """As its driver calls it."""
    compute_capability: str
    """Such as 8.9."""
    memory_bytes: int
    """In all."""

    def __str__(self) -> str:
        gib = self.memory_bytes / 2**30
        return f"gpu:{self.number} {self.name} ({self.compute_capability}, {gib:.0f} GiB)"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look for GPUs showed."""

    gpus: tuple[Gpu, ...]
    """In CUDA's order."""
    driver: str
    """CUDA version of the NVIDIA driver, such as 13.0; empty: there is no driver, or no look."""
    problem: str
    """Why there are no GPUs; empty where there are."""
    providers: tuple[str, ...] = ()
    """Execution providers of the ONNX Runtime that is installed."""

    def __str__(self) -> str:
        gpus = "; ".join(map(str, self.gpus)) or self.problem
        providers = ", ".join(self.providers) or "none"
        return f"{gpus}; execution providers of ONNX Runtime: {providers}"


def parse_device(text: str) -> Device:
    """Read "cpu" or "gpu:N". Raises DeviceUnavailable for anything else."""
    match = _DEVICE.fullmatch(text)
    if match is None:
        raise DeviceUnavailable(repr(text), "no device of that name; write cpu or gpu:N")
    return Device(None if match[1] is None else int(match[1]))


def remote_address(text: str) -> str | None:
    """Give the HOST:PORT of a device "kserve:HOST:PORT"; None for any other."""
    return text.removeprefix(_REMOTE) if text.startswith(_REMOTE) else None


def look_for_gpus() -> Found:
    """Ask the driver what GPUs there are; never raises."""
    providers = tuple(onnxruntime_providers())
    try:
        runtime = cuda_runtime()
    except DeviceUnavailable as error:
        return Found((), "", error.found, providers)
    driver = _version(runtime.cudaDriverGetVersion())
    status, count = runtime.cudaGetDeviceCount()
    if int(status) == 0 and count:
        return Found(tuple(_gpu(runtime, number) for number in range(count)), driver, "", providers)
    if not driver:
        problem = f"no NVIDIA driver ({told(runtime, status)})"
    elif int(status):
        built = _version(runtime.cudaRuntimeGetVersion())
        problem = f"an NVIDIA driver for CUDA {driver} ({told(runtime, status)}; this is {built})"
    else:
        problem = f"an NVIDIA driver for CUDA {driver} that sees no GPU"
    return Found((), driver, problem, providers)


def find_gpu(device: Device) -> Gpu:
    """Give the GPU that a device names. Raises DeviceUnavailable, saying what was found."""
    found = look_for_gpus()
    for gpu in found.gpus:
        if gpu.number == device.gpu:
            return gpu
    raise DeviceUnavailable(str(device), str(found))


def cuda_runtime() -> Any:
    """Load the bindings of CUDA's runtime. Raises DeviceUnavailable where they are absent."""
    try:
        return importlib.import_module(_RUNTIME)
    except ModuleNotFoundError as error:
        found = f"no module {error.name}; pip install 'speakerd-server[gpu]' brings it"
        raise DeviceUnavailable("a GPU", found) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceUnavailable("a GPU", f"cuda-bindings that cannot load ({error})") from error


def told(runtime: Any, status: Any) -> str:
    """Give a CUDA status as "CUDA error 35: what CUDA says of it"."""
    _, text = runtime.cudaGetErrorString(status)
    return f"CUDA error {int(status)}: {text.decode()}"


def onnxruntime_providers() -> Sequence[str]:
    """Name the execution providers of the ONNX Runtime that is installed."""
    try:
        runtime: ModuleType = importlib.import_module("onnxruntime")
    except ImportError:
        return ()
    providers: list[str] = runtime.get_available_providers()
    return providers


def check_one_onnxruntime() -> None:
    """Raise OnnxRuntimeTwice where both packages are installed: they share one folder."""
    present = []
    for name in _ONNX_RUNTIMES:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        present.append(name)
    if len(present) > 1:
        raise OnnxRuntimeTwice(present)


def _gpu(runtime: Any, number: int) -> Gpu:
    _, properties = runtime.cudaGetDeviceProperties(number)
    capability = f"{properties.major}.{properties.minor}"
    name = properties.name.decode().rstrip("\0")
    return Gpu(number, name, capability, int(properties.totalGlobalMem))


def _version(answer: tuple[Any, int]) -> str:
    """Write CUDA's 13000 as 13.0; empty for 0, which is no driver."""
    number = int(answer[1] or 0)
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""
