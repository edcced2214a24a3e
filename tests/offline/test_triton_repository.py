from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from speakerd_server.cards import Bundle
from speakerd_server.engine.tensorrt_library import installed_libraries, target_of
from speakerd_server.errors import ModelUnusable, OutputUnusable
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.offline import triton_plan
from speakerd_server.offline.triton_plan import PlanRequest
from speakerd_server.offline.triton_repository import Repository, write_repository
from support.bundles import small_bundle
from support.speech import noise

CPU = Repository("onnx", False, "float32", 8, 2, 1000)
GPU = Repository("onnx", True, "float16", 64, 2, 1000)
PLAN = Repository("tensorrt", True, "float16", 4, 2, 1000)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(small_bundle(tmp_path_factory.mktemp("small")))


def listed(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def session(folder: Path, model: str) -> ort.InferenceSession:
    path = folder / model / "1" / "model.onnx"
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"])


def ports(text: str) -> dict[str, tuple[str, list[int]]]:
    """Read the inputs and outputs of a config.pbtxt."""
    found = re.findall(r'name: "(\w+)" data_type: TYPE_(\w+) dims: \[ (-?\d+) \]', text)
    return {name: (kind, [int(size)]) for name, kind, size in found}


def of_session(opened: ort.InferenceSession) -> dict[str, tuple[str, list[int]]]:
    kinds = {"tensor(float)": "FP32", "tensor(int64)": "INT64"}
    return {
        port.name: (kinds[port.type], [-1 if isinstance(s, str) else s for s in port.shape[1:]])
        for port in (*opened.get_inputs(), *opened.get_outputs())
    }


@pytest.mark.parametrize("wanted", [CPU, GPU], ids=["cpu", "gpu"])
def test_each_configuration_says_what_its_graph_takes_and_gives(
    small: Bundle, tmp_path: Path, wanted: Repository
) -> None:
    write_repository(tmp_path, small, wanted)
    for model in ("speaker", "speaker_windows"):
        text = (tmp_path / model / "config.pbtxt").read_text()
        assert ports(text) == of_session(session(tmp_path, model))
        assert f'name: "{model}"\nbackend: "onnxruntime"\n' in text
        assert f"max_batch_size: {wanted.max_batch}\n" in text
        assert f"count: 2 kind: KIND_{'GPU' if wanted.on_gpu else 'CPU'}" in text
        assert "max_queue_delay_microseconds: 1000" in text
        assert ("intra_op_thread_count" in text) is not wanted.on_gpu
        assert "ragged" not in text


def test_whole_utterances_give_what_their_windows_give(tmp_path: Path) -> None:
    bundle = load_bundle(shipped_bundle())
    write_repository(tmp_path, bundle, CPU)
    audio = noise(3.3)[None]
    rows = np.arange(1 + (audio.shape[1] - 400) // 160)[None]
    (found,) = session(tmp_path, "speaker").run(["EMBEDDINGS"], {"WAV": audio})
    feed = {"pcm": audio, "rows": rows}
    (wanted,) = session(tmp_path, "speaker_windows").run(["embeddings"], feed)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_warm_up_is_what_the_graph_can_take(small: Bundle, tmp_path: Path) -> None:
    write_repository(tmp_path, small, CPU)
    for model in ("speaker", "speaker_windows"):
        text = (tmp_path / model / "config.pbtxt").read_text()
        assert re.findall(r"batch_size: (\d+)\n  inputs", text) == ["1", "8"]
        warm: dict[str, Any] = {}
        for name, kind, size, file in re.findall(
            r'key: "(\w+)" value: { data_type: TYPE_(\w+) dims: \[ (\d+) \]'
            r' input_data_file: "(\w+)"',
            text,
        ):
            content = (tmp_path / model / "warmup" / file).read_bytes()
            warm[name] = np.frombuffer(content, {"FP32": "<f4", "INT64": "<i8"}[kind])[None]
            assert warm[name].shape == (1, int(size))
        (found,) = session(tmp_path, model).run(None, warm)
        assert np.isfinite(np.asarray(found)).all()


def test_the_python_form_needs_nothing_but_the_bundle(small: Bundle, tmp_path: Path) -> None:
    write_repository(tmp_path, small, Repository("python", False, "float32", 8, 4, 0))
    program = (tmp_path / "speaker" / "1" / "model.py").read_text()
    assert re.findall(r"^(?:import|from) (speakerd\w*)", program, re.MULTILINE) == []
    for model in ("speaker", "speaker_windows"):
        network = tmp_path / model / "1" / "model.onnx"
        assert network.read_bytes() == small.onnx_path.read_bytes()
        text = (tmp_path / model / "config.pbtxt").read_text()
        assert 'backend: "python"' in text
        assert "allow_ragged_batch: true" in text
        assert 'key: "min_frames" value: { string_value: "' in text


def test_a_model_that_is_there_is_not_overwritten_unless_that_is_asked_for(
    small: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "speaker" / "2").mkdir(parents=True)
    (tmp_path / "other" / "1").mkdir(parents=True)
    with pytest.raises(OutputUnusable, match="is there already; give --force") as refused:
        write_repository(tmp_path, small, CPU)
    assert refused.value.path == tmp_path / "speaker"
    assert not (tmp_path / "speaker_windows").exists()
    write_repository(tmp_path, small, CPU, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "other",
        "speaker",
        "speaker_windows",
    ]
    assert not (tmp_path / "speaker" / "2").exists()
    assert listed(tmp_path / "speaker") == ["1/model.onnx", "config.pbtxt", "warmup/WAV"]


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_left(
    small: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputUnusable):
        write_repository(tmp_path / "file", small, CPU)
    with pytest.raises(OutputUnusable):
        write_repository(Path("/proc/models"), small, CPU)
    assert listed(tmp_path) == ["file"]


@pytest.mark.parametrize("wanted", [GPU, PLAN], ids=["onnx", "tensorrt"])
def test_an_8_bit_model_has_no_form_for_gpus(tmp_path: Path, wanted: Repository) -> None:
    bundle = load_bundle(shipped_bundle("campplus-int8"))
    with pytest.raises(ModelUnusable, match="use the float model on a GPU"):
        write_repository(tmp_path / "new", bundle, wanted, lambda: b"")
    assert not (tmp_path / "new").exists()


@pytest.mark.timeout(120)
def test_a_plan_is_built_for_every_batch_that_its_configuration_allows(
    small: Bundle, tmp_path: Path
) -> None:
    # The full TensorRT, whose plans Triton loads, is on no package index that tests may use; the
    # one for RTX GPUs has the same interface, and builds without a GPU.
    (library,) = installed_libraries(["tensorrt_rtx"])
    request = PlanRequest(small, library, target_of("8.9"), "float16", 4, 5.0)
    (profile,) = request.key.profiles
    assert profile.windows == (1, 2, 4)
    assert profile.frames == (small.card.min_frames, 198, 500)
    write_repository(tmp_path, small, PLAN, lambda: triton_plan.build(request))
    text = (tmp_path / "speaker_windows" / "config.pbtxt").read_text()
    assert 'platform: "tensorrt_plan"' in text
    assert "max_batch_size: 4\n" in text
    assert listed(tmp_path / "speaker_windows") == [
        "1/model.plan",
        "config.pbtxt",
        "warmup/pcm",
        "warmup/rows",
    ]
    assert (tmp_path / "speaker_windows" / "1" / "model.plan").stat().st_size > 1000
    assert ports(text)["pcm"] == ("FP32", [-1])
    # Rows cannot be made inside an engine of this kind: whole utterances stay with ONNX Runtime.
    assert 'backend: "onnxruntime"' in (tmp_path / "speaker" / "config.pbtxt").read_text()


def test_a_plan_that_fails_leaves_nothing(small: Bundle, tmp_path: Path) -> None:
    def failing() -> bytes:
        raise ModelUnusable(tmp_path, "made to fail")

    with pytest.raises(ModelUnusable):
        write_repository(tmp_path / "new", small, PLAN, failing)
    assert not (tmp_path / "new").exists()
