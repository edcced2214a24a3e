"""The GPU bench where there is no GPU: what it says there, and that its parts measure."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from speakerd_server.engine.devices import Device, Gpu
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.engine.gpu_settings import GpuSettings
from speakerd_server.engine.long_windows import buffer_samples
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.models.gpu_graph import gpu_graph
from support.gpu import no_gpu
from support.gpu_bench import operations, product_graph, windows_per_s
from support.gpu_note import note
from support.shared import ROOT
from support.sounds import DIM, window
from support.wespeaker import session_of

BENCH = ROOT / "tests" / "bench" / "gpu.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_bench_program", BENCH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_gpu_it_ends_with_3_says_what_was_found_and_estimates_nothing(
    tmp_path: Path,
) -> None:
    found = no_gpu()
    note_path = tmp_path / "note.md"
    done = subprocess.run(
        [sys.executable, str(BENCH), "--output", str(note_path)], capture_output=True, text=True
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.endswith(f"gpu:0 is not there, so nothing was measured: {found}\n")
    assert not note_path.exists()


@pytest.mark.timeout(120)
def test_everything_but_the_gpu_is_measured_as_it_would_be_there(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"BATCHES": (1, 2), "ROUNDS": 1, "ROUND_S": 0.1, "EXPERIMENTS": {}}
    for name, value in small.items():
        monkeypatch.setattr(bench, name, value)
    monkeypatch.setattr(bench, "copy_gb_per_s", lambda number: 10.0)
    monkeypatch.setattr(bench, "matrix_tflop_per_s", lambda number, precision: (0.1, "hand"))
    monkeypatch.setattr(bench, "_settings", lambda *_: GpuSettings())
    monkeypatch.setattr(bench, "Device", lambda number: Device())
    monkeypatch.setattr(
        bench, "service", lambda settings, device: {"library": "x", "precision": "y"}
    )
    result = bench.measure(Gpu(0, "none", "8.9", 2**34), "13.0", tmp_path, 0.1)
    json.dumps(result)
    for row in result["bare"]:
        assert row["model"] == "CAM++"
        assert set(row["windows_per_s"]) == {"1", "2"}
        assert min(row["windows_per_s"].values()) > 0
        assert row["lowest_cosine"] >= 0.9999999
        assert row["share_of_matrix_rate"] > 0
        assert 0 < row["share_of_copy_rate"] < 1
    page = note(result)
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| CAM++")}
    assert len(widths) == 1
    assert "Ceilings of the same run: copies to the GPU 10.0 GB/s" in page


def test_a_daemon_that_cannot_start_is_told_in_its_row(bench: ModuleType) -> None:
    no_gpu()
    row = bench.service(GpuSettings(), Device(0))
    assert "gpu:0 was asked for and cannot be used" in row["failed"]


def test_a_network_that_is_not_there_is_told_in_its_row(bench: ModuleType, tmp_path: Path) -> None:
    assert isinstance(bench._exported(tmp_path / "none", tmp_path / "bundles"), str)


def test_what_fails_while_it_is_measured_is_told_in_its_row(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = [FakeBackend(DIM, poison=lambda pcm: True)]
    monkeypatch.setattr(bench, "open_backends", lambda opening: lanes)
    bundle = load_bundle(shipped_bundle())
    row = bench.bare(bundle, GpuSettings(), Device(0), {}, 0.05)
    assert row == {"failed": "ValueError: poisoned window"}
    assert bench.service(GpuSettings(), Device(0))["failed"] == "ValueError: poisoned window"


def test_what_cannot_be_measured_is_written_as_such() -> None:
    failed = {"model": "CAM++", "library": "tensorrt_rtx", "precision": "float16", "failed": "why"}
    page = note(
        {
            "gpu": "gpu:0 NVIDIA H100",
            "date": "2026-11-25",
            "driver_cuda": "13.0",
            "tensorrt": {},
            "onnxruntime": "1.31.1 GPU",
            "not_run": ["tensorrt_rtx"],
            "copy_gb_per_s": 50.0,
            "matrix_tflop_per_s": {"float32": None, "float16": None},
            "bare": [failed],
            "service": [{"library": "onnxruntime", "precision": "float16", "failed": "why|not"}],
        }
    )
    assert "| CAM++ | tensorrt_rtx | float16 | not measured: why |" in page
    assert "| onnxruntime | float16 | not measured: why/not |" in page
    assert "Not run, for want of a target for this GPU: tensorrt_rtx." in page
    assert "matrix products not measured" in page


def test_every_lane_is_driven_and_its_failure_is_raised() -> None:
    windows = [window(20, seed) for seed in range(3)]
    lanes = [FakeBackend(DIM), FakeBackend(DIM)]
    assert windows_per_s(lanes, windows, 4, 0.05) > 0
    assert all(lane.batches[0] == (4, 20) for lane in lanes)
    poisoned = FakeBackend(DIM, poison=lambda pcm: True)
    with pytest.raises(ValueError, match="poisoned"):
        windows_per_s([FakeBackend(DIM), poisoned], windows, 1, 0.05)


def test_the_work_of_a_window_is_counted_from_its_graph() -> None:
    # 1065 M multiply-adds of CAM++ (docs/measurements/graph.md) and 49 M of the front end.
    content = gpu_graph(load_bundle(shipped_bundle()), "float32", (buffer_samples(198), 198))
    assert operations(content) == pytest.approx(2 * (1065e6 + 49e6), rel=0.02)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_product_of_matrices_is_a_graph_that_loads(precision: str) -> None:
    (output,) = session_of(product_graph(precision)).get_outputs()
    assert output.name == "largest"
