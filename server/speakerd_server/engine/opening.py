"""Opens the backends of a model on the device that the settings name, and tries them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from speakerd_server.cards import Bundle
from speakerd_server.engine.backend import Backend
from speakerd_server.engine.devices import (
    CUDA_PROVIDER,
    Device,
    Gpu,
    check_one_onnxruntime,
    find_gpu,
    look_for_gpus,
    onnxruntime_providers,
)
from speakerd_server.engine.gpu_settings import ONNX_RUNTIME, GpuSettings
from speakerd_server.engine.lane import LaneSizes, buckets
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.own_thread import OwnThread
from speakerd_server.engine.tensorrt_cache import EngineRequest, Networks, obtain_engine
from speakerd_server.engine.tensorrt_library import LIBRARIES, Library, installed_libraries
from speakerd_server.engine.trial import LOWEST_COSINE, try_backend
from speakerd_server.errors import DeviceUnavailable


@dataclass(frozen=True, slots=True)
class Opening:
    """What backends are opened for."""

    bundle: Bundle
    """Verified when it was read."""
    settings: GpuSettings
    """How a GPU is used."""
    device: Device
    """On what."""
    networks: Callable[[], Networks]
    """Makes the model's graphs for a GPU; called only where there is one."""
    samples_per_chunk: int
    """Of the windows that most calls will have, in samples, at least 400."""
    workers: int = 1
    """Backends on the processor."""
    threads: int = 1
    """Processors that one of these may use."""
    lanes: int | None = None
    """Of a GPU; None: as many as the settings say."""

    @property
    def sizes(self) -> LaneSizes:
        """Give what the lanes of a GPU are made for."""
        settings = self.settings
        return lane_sizes(
            self.bundle, self.samples_per_chunk, settings.batch_windows, settings.longest_s
        )


def open_backends(opening: Opening) -> list[Backend]:
    """Open one backend for each worker, or for each lane of a GPU, and try them.

    Raises:
        OnnxRuntimeTwice: Both packages of ONNX Runtime are installed.
        DeviceUnavailable: The GPU, or what computes on it, is not there; says what was found.
        EngineFileMissing: TensorRT has no engine for it; says how to build one.
        EngineFileRefused: It has one that is damaged or foreign.
        EngineBuildFailed: It was to be built and cannot.
        DeviceOutOfMemory: The GPU has no memory for the lanes.
        ModelUnusable: The model cannot be loaded, or a trial embedding is wrong.
    """
    check_one_onnxruntime()
    device = opening.device
    bundle, window_frames = opening.bundle, opening.sizes.window_frames
    if device.gpu is None:
        backends: list[Backend] = [
            OnnxRuntimeCpu(bundle, opening.threads) for _ in range(opening.workers)
        ]
        try_backend(backends[0], bundle, window_frames)
        return backends
    gpu = find_gpu(device)
    reference = OnnxRuntimeCpu(bundle)
    try:
        opened = _open_lanes(opening, device, gpu)
        try:
            for backend in opened:
                lowest = LOWEST_COSINE[opening.settings.precision]
                batches = buckets(opening.settings.batch_windows)
                try_backend(backend, bundle, window_frames, reference, lowest, batches)
        except BaseException:
            _close(opened)
            raise
    finally:
        reference.close()
    return opened


def lane_sizes(
    bundle: Bundle, samples_per_chunk: int, batch_windows: int, longest_s: float
) -> LaneSizes:
    """Give the sizes of lanes for a model, a window length and a longest window in seconds."""
    window_frames = 1 + (samples_per_chunk - 400) // 160
    longest_frames = max(round(100 * longest_s), window_frames)
    return LaneSizes(bundle.card.dim, window_frames, batch_windows, longest_frames)


def choose_library(settings: GpuSettings, gpu: Gpu) -> Library | None:
    """Choose what computes on a GPU; None: ONNX Runtime.

    Raises:
        DeviceUnavailable: Nothing that is installed can.
    """
    if settings.library in LIBRARIES:
        found = installed_libraries([settings.library])
        if not found:
            raise DeviceUnavailable(settings.library, f"no such module; {look_for_gpus()}")
        if not found[0].can_run_on(gpu.compute_capability):
            targets = ", ".join(found[0].targets)
            raise DeviceUnavailable(
                f"{settings.library} {found[0].version} on {gpu}",
                f"it runs on compute capabilities {targets}; use the library {ONNX_RUNTIME}",
            )
        return found[0]
    if settings.library == "auto":
        for library in installed_libraries():
            if library.can_run_on(gpu.compute_capability):
                return library
    if CUDA_PROVIDER not in onnxruntime_providers():
        found_here = f"{look_for_gpus()}; pip install 'speakerd-server[gpu]' brings {CUDA_PROVIDER}"
        raise DeviceUnavailable(f"{settings.library} on {gpu}", found_here)
    return None


def _open_lanes(opening: Opening, device: Device, gpu: Gpu) -> list[Backend]:
    library = choose_library(opening.settings, gpu)
    makes = (
        _onnxruntime_lane(opening, gpu)
        if library is None
        else _tensorrt_lane(opening, library, device, gpu)
    )
    opened: list[Backend] = []
    try:
        while len(opened) < (opening.lanes or opening.settings.lanes):
            opened.append(OwnThread(makes, f"gpu-{gpu.number}-lane-{len(opened)}"))
    except BaseException:
        _close(opened)
        raise
    return opened


def _onnxruntime_lane(opening: Opening, gpu: Gpu) -> Callable[[], Backend]:
    from speakerd_server.engine.onnxruntime_cuda import WindowGraphs, open_cuda_lane

    networks, precision, sizes = opening.networks(), opening.settings.precision, opening.sizes
    usual = buffer_samples(sizes.window_frames), sizes.window_frames
    graphs = WindowGraphs(
        opening.bundle.onnx_path, networks.make(precision, usual), networks.make(precision, None)
    )
    return partial(open_cuda_lane, graphs, sizes, gpu.number)


def _tensorrt_lane(
    opening: Opening, library: Library, device: Device, gpu: Gpu
) -> Callable[[], Backend]:
    from speakerd_server.engine.tensorrt_program import SharedEngine, open_tensorrt_lane

    settings = opening.settings
    request = EngineRequest(
        bundle=opening.bundle,
        sizes=opening.sizes,
        samples_per_chunk=opening.samples_per_chunk,
        precision=settings.precision,
        library=library,
        target=library.target_of(gpu),
        device=str(device),
    )
    may_build = settings.missing_engine == "build"
    engine = obtain_engine(request, opening.networks(), settings.engine_folder, may_build)
    shared = SharedEngine(library, engine, gpu.number)
    return partial(open_tensorrt_lane, shared, opening.sizes, gpu.number)


def _close(backends: list[Backend]) -> None:
    for backend in backends:
        # What is being raised matters more than what closing says of a device in trouble.
        with suppress(Exception):
            backend.close()
