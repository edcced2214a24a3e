from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from speakerd_server.engine.devices import CPU_PROVIDER, CUDA_PROVIDER, onnxruntime_providers
from speakerd_server.engine.lane import LaneSizes
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.engine.onnxruntime_cuda import (
    WindowGraphs,
    open_cuda_lane,
    open_session,
    replays_safely,
)
from speakerd_server.engine.own_thread import OwnThread
from speakerd_server.errors import DeviceOutOfMemory, DeviceUnavailable, ModelUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from support.gpu import no_gpu, some_gpu
from support.sounds import batch, lowest_cosine

SIZES = LaneSizes(dim=192, window_frames=198, batch_windows=8, longest_frames=1000)


def graphs(precision: str) -> WindowGraphs:
    bundle = load_bundle(shipped_bundle())
    usual = gpu_graph(bundle, precision, (buffer_samples(198), 198))
    return WindowGraphs(bundle.onnx_path, usual, gpu_graph(bundle, precision))


def test_without_a_gpu_a_lane_is_refused_with_what_was_found() -> None:
    found = no_gpu()
    with pytest.raises(DeviceUnavailable) as refused:
        open_cuda_lane(WindowGraphs(Path("model.onnx"), b"", b""), SIZES, 0)
    assert refused.value.found == found


def test_a_graph_that_cannot_be_loaded_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"cannot load model\.onnx"):
        open_session(tmp_path / "model.onnx", b"no graph", [CPU_PROVIDER])


def test_a_provider_that_fails_is_told_and_the_processor_does_not_take_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0")

    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", fails)
    with pytest.raises(DeviceOutOfMemory, match="CUDA failure 2"):
        open_session(Path("model.onnx"), b"any", [CPU_PROVIDER])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("1.31.1", True),
        ("1.32.0", True),
        ("2.0.0", True),
        ("1.100.0", True),
        ("1.31.0", False),
        ("1.9.2", False),
        ("unknown", False),
    ],
)
def test_cuda_graphs_are_left_out_where_a_replay_may_read_what_was_overwritten(
    version: str, safe: bool
) -> None:
    assert replays_safely(version) is safe


@pytest.mark.gpu
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("precision", "lowest"), [("float32", 0.99999), ("float16", 0.999)])
def test_embeddings_of_a_gpu_are_those_of_the_processor(precision: str, lowest: float) -> None:
    gpu = some_gpu()
    if CUDA_PROVIDER not in onnxruntime_providers():
        pytest.skip(f"ONNX Runtime has no {CUDA_PROVIDER}")
    exact = OnnxRuntimeCpu(load_bundle(shipped_bundle()))
    lane = OwnThread(lambda: open_cuda_lane(graphs(precision), SIZES, gpu.number), "gpu")
    for windows, frames in ((1, 198), (5, 198), (8, 198), (11, 198), (1, 300), (2, 98), (1, 198)):
        pcm, rows = batch(windows, frames)
        found = lane.embed(pcm, rows)
        assert np.isfinite(found).all()
        assert lowest_cosine(found, exact.embed(pcm, rows)) >= lowest
    lane.close()
