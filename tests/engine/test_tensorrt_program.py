from __future__ import annotations

from types import SimpleNamespace

import pytest
from speakerd_server.engine.engine_file import EngineFile
from speakerd_server.engine.lane import LaneSizes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.own_thread import OwnThread
from speakerd_server.engine.tensorrt_cache import EngineRequest, build_engine
from speakerd_server.engine.tensorrt_library import RTX, Library, installed_libraries
from speakerd_server.engine.tensorrt_program import (
    OTHER,
    USUAL,
    SharedEngine,
    open_tensorrt_lane,
    specialise,
)
from speakerd_server.errors import DeviceUnavailable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline.gpu_networks import networks_of
from support.engines import ENGINE
from support.gpu import no_gpu, some_gpu
from support.sounds import batch, lowest_cosine

SIZES = LaneSizes(dim=192, window_frames=198, batch_windows=8, longest_frames=1000)


@pytest.fixture
def library() -> Library:
    (found,) = installed_libraries([RTX])
    return found


def test_without_a_driver_an_engine_is_not_loaded_and_cudas_error_is_told(
    library: Library,
) -> None:
    no_gpu()
    with pytest.raises(DeviceUnavailable, match="CUDA error 35"):
        SharedEngine(library, ENGINE, 0)


def test_recorded_sizes_are_compiled_at_once_and_others_behind_them(library: Library) -> None:
    kinds = library.module.DynamicShapesKernelSpecializationStrategy
    for profile, kind in ((USUAL, kinds.EAGER), (OTHER, kinds.LAZY)):
        config = SimpleNamespace()
        specialise(library.module, config, profile)
        assert config.dynamic_shapes_kernel_specialization_strategy == kind


def test_the_full_library_which_compiles_nothing_at_run_time_is_told_nothing() -> None:
    config = SimpleNamespace()
    specialise(SimpleNamespace(), config, USUAL)
    assert vars(config) == {}


def built(library: Library, precision: str) -> EngineFile:
    gpu = some_gpu()
    if not library.can_run_on(gpu.compute_capability):
        pytest.skip(f"{library.name} has no target for {gpu}")
    bundle = load_bundle(shipped_bundle())
    target = library.target_of(gpu)
    request = EngineRequest(bundle, SIZES, 32000, precision, library, target, "gpu:0")
    return build_engine(request, networks_of(bundle))


@pytest.mark.gpu
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("precision", "lowest"), [("float32", 0.99999), ("float16", 0.999)])
def test_two_lanes_over_one_engine_give_the_processors_embeddings(
    library: Library, precision: str, lowest: float
) -> None:
    engine, number = built(library, precision), some_gpu().number
    shared = SharedEngine(library, engine, number)
    exact = OnnxRuntimeCpu(load_bundle(shipped_bundle()))
    lanes = [
        OwnThread(lambda: open_tensorrt_lane(shared, SIZES, number), f"lane-{at}")
        for at in range(2)
    ]
    for windows, frames in ((1, 198), (5, 198), (8, 198), (11, 198), (1, 300), (2, 98), (1, 198)):
        pcm, rows = batch(windows, frames)
        for lane in lanes:
            assert lowest_cosine(lane.embed(pcm, rows), exact.embed(pcm, rows)) >= lowest
    for lane in lanes:
        lane.close()
