from __future__ import annotations

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from speakerd_server.cards import Bundle
from speakerd_server.engine import opening as opening_module
from speakerd_server.engine.devices import CUDA_PROVIDER, Device, Gpu, onnxruntime_providers
from speakerd_server.engine.gpu_settings import GpuSettings
from speakerd_server.engine.lane import LaneSizes
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.opening import (
    Opening,
    choose_library,
    lane_sizes,
    open_backends,
)
from speakerd_server.engine.tensorrt_cache import Networks
from speakerd_server.errors import (
    DeviceUnavailable,
    EngineFileMissing,
    EngineFileRefused,
    ModelUnusable,
    OnnxRuntimeTwice,
)
from speakerd_server.models.bundle import load_bundle, shipped_bundle, write_bundle
from speakerd_server.offline.gpu_networks import networks_of
from support.gpu import no_gpu, some_gpu
from support.networks import saved, small_network, taken

pytestmark = pytest.mark.timeout(60)

L4 = Gpu(0, "NVIDIA L4", "8.9", 24 * 2**30)
H100 = Gpu(0, "NVIDIA H100", "9.0", 80 * 2**30)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = saved(small_network(), tmp_path_factory.mktemp("small") / "net.onnx")
    return load_bundle(taken(path).folder)


def not_needed() -> Networks:
    pytest.fail("no graph for a GPU is needed")


def opening_of(bundle: Bundle, device: Device = Device(), **settings: Any) -> Opening:  # noqa: B008
    return Opening(bundle, GpuSettings(**settings), device, not_needed, 32000, workers=2)


def test_on_the_processor_there_is_a_backend_for_each_worker() -> None:
    opened = open_backends(opening_of(load_bundle(shipped_bundle())))
    assert [type(backend) for backend in opened] == [OnnxRuntimeCpu, OnnxRuntimeCpu]


def test_a_model_that_gives_another_dimension_than_its_card_is_refused(small: Bundle) -> None:
    card = dataclasses.replace(small.card, dim=192)
    with pytest.raises(ModelUnusable, match=r"shape \(3, 8\), the card says \(3, 192\)"):
        open_backends(opening_of(Bundle(card, small.onnx_path)))


def test_a_model_that_loads_and_gives_nan_is_refused(small: Bundle, tmp_path: Path) -> None:
    model = onnx.load(small.onnx_path)
    (last,) = [one for one in model.graph.initializer if one.name.endswith("last")]
    array = numpy_helper.to_array(last).copy()
    array[0, 0] = np.nan
    last.CopyFrom(numpy_helper.from_array(array, last.name))
    folder = write_bundle(tmp_path / "nan", small.card, model.SerializeToString())
    with pytest.raises(ModelUnusable, match="not finite"):
        open_backends(opening_of(load_bundle(folder)))


@pytest.mark.parametrize("library", ["auto", "onnxruntime", "tensorrt_rtx"])
def test_a_gpu_where_there_is_none_is_refused_with_what_was_found(
    small: Bundle, library: str
) -> None:
    found = no_gpu()
    with pytest.raises(DeviceUnavailable) as refused:
        open_backends(opening_of(small, Device(0), library=library))
    assert (refused.value.asked, refused.value.found) == ("gpu:0", found)


def test_two_onnx_runtimes_are_refused_before_anything_is_loaded(
    small: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: name)
    with pytest.raises(OnnxRuntimeTwice):
        open_backends(opening_of(small))


def no_cuda_provider() -> None:
    if CUDA_PROVIDER in onnxruntime_providers():
        pytest.skip(f"ONNX Runtime has {CUDA_PROVIDER} here")


def test_by_itself_tensorrt_is_chosen_where_it_has_a_target_for_the_gpu() -> None:
    library = choose_library(GpuSettings(), L4)
    assert library is not None
    assert library.name == "tensorrt_rtx"


def test_for_a_gpu_without_a_target_onnx_runtime_is_chosen_or_what_it_needs_is_told() -> None:
    no_cuda_provider()
    with pytest.raises(DeviceUnavailable, match=r"auto on gpu:0 NVIDIA H100 .* brings CUDA"):
        choose_library(GpuSettings(), H100)


def test_a_library_that_was_named_is_never_exchanged_for_another() -> None:
    no_cuda_provider()
    with pytest.raises(DeviceUnavailable, match=r"8\.9, 12\.0, 12\.1; use the library onnxruntime"):
        choose_library(GpuSettings(library="tensorrt_rtx"), H100)
    with pytest.raises(DeviceUnavailable, match=r"tensorrt was asked for .* no such module"):
        choose_library(GpuSettings(library="tensorrt"), L4)
    with pytest.raises(DeviceUnavailable, match="onnxruntime on gpu:0 NVIDIA L4"):
        choose_library(GpuSettings(library="onnxruntime"), L4)


def on_l4(small: Bundle, folder: Path, **settings: Any) -> Opening:
    chosen = GpuSettings(engine_folder=folder, batch_windows=4, **settings)
    return Opening(small, chosen, Device(0), lambda: networks_of(small), 32000)


@pytest.fixture
def an_l4(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have a GPU until something is done with it."""
    no_gpu()
    monkeypatch.setattr(opening_module, "find_gpu", lambda device: L4)


@pytest.mark.usefixtures("an_l4")
def test_without_an_engine_the_start_says_how_to_build_it(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(EngineFileMissing) as missing:
        open_backends(on_l4(small, tmp_path))
    assert f"--cache-folder {tmp_path}" in missing.value.command
    assert "--max-batch 4" in missing.value.command
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("an_l4")
def test_an_engine_is_built_at_the_start_where_that_is_allowed_and_loading_it_needs_a_driver(
    small: Bundle, tmp_path: Path
) -> None:
    with pytest.raises(DeviceUnavailable, match="CUDA error 35"):
        open_backends(on_l4(small, tmp_path, missing_engine="build"))
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(DeviceUnavailable, match="CUDA error 35"):
        open_backends(on_l4(small, tmp_path))


@pytest.mark.usefixtures("an_l4")
def test_an_engine_of_another_precision_is_refused_by_name(small: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable):
        open_backends(on_l4(small, tmp_path, missing_engine="build"))
    with pytest.raises(EngineFileRefused, match="precision float16, float32 is wanted"):
        open_backends(on_l4(small, tmp_path, precision="float32"))


@pytest.mark.usefixtures("an_l4")
def test_no_lane_is_opened_where_the_processor_cannot_load_the_model_itself(
    small: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening_module, "_open_lanes", lambda *_: pytest.fail("it takes memory"))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelUnusable):
        open_backends(on_l4(dataclasses.replace(small, onnx_path=path), tmp_path))


def test_sizes_follow_from_window_and_longest_window(small: Bundle) -> None:
    assert lane_sizes(small, 32000, 64, 30.0) == LaneSizes(8, 198, 64, 3000)
    assert lane_sizes(small, 960000, 4, 30.0) == LaneSizes(8, 5998, 4, 5998)


@pytest.mark.gpu
@pytest.mark.timeout(300)
def test_lanes_of_a_gpu_pass_their_trial(tmp_path: Path) -> None:
    gpu, bundle = some_gpu(), load_bundle(shipped_bundle())
    settings = GpuSettings(engine_folder=tmp_path, missing_engine="build")
    opening = Opening(bundle, settings, Device(gpu.number), lambda: networks_of(bundle), 32000)
    opened = open_backends(opening)
    assert len(opened) == settings.lanes
    for backend in opened:
        backend.close()
