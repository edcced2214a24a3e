"""`speakerd model triton-repo`: what is written, what is told, what is refused."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import shipped_bundle
from support.bundles import damage, small_bundle


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", "triton-repo", *map(str, arguments)])


def test_a_shipped_model_is_written_and_how_to_run_it_is_told(tmp_path: Path) -> None:
    result = run("campplus", "--output", tmp_path)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"wrote {tmp_path}/speaker",
        f"wrote {tmp_path}/speaker_windows",
        f"run tritonserver --model-repository={tmp_path}",
    ]
    network = tmp_path / "speaker_windows" / "1" / "model.onnx"
    assert network.read_bytes() == (shipped_bundle() / "model.onnx").read_bytes()


def test_options_decide_what_is_written(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "models")
    options = ["--form=python", "--max-batch=4", "--instances=3", "--queue-delay-us=250"]
    result = run(bundle, f"--output={tmp_path / 'repo'}", "--json", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "models": [
            {"name": name, "folder": str(tmp_path / "repo" / name)}
            for name in ("speaker", "speaker_windows")
        ],
        "bundle": "small/1",
        "form": "python",
        "device": "cpu",
        "dim": 8,
        "max_batch": 4,
        "instances": 3,
    }
    text = (tmp_path / "repo" / "speaker" / "config.pbtxt").read_text()
    assert "max_batch_size: 4\n" in text
    assert "count: 3 kind: KIND_CPU" in text
    assert "max_queue_delay_microseconds: 250" in text


def test_for_gpus_batches_are_larger(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "models")
    result = run(bundle, f"--output={tmp_path / 'repo'}", "--device=gpu", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["device"], told["max_batch"]) == ("gpu", 64)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonesuch"], "MODEL_UNUSABLE"),
        (["campplus", "--form=python", "--device=gpu"], "the python form computes on processors"),
        (["campplus", "--form=tensorrt", "--device=cpu"], "a TensorRT plan computes on GPUs"),
        (["campplus", "--form=tensorrt"], "Triton loads plans of the full tensorrt alone"),
        (["campplus", "--form=tensorrt"], "[ENGINE_BUILD_FAILED]"),
        (["campplus", "--device=tpu"], "write cpu or gpu"),
        (["campplus-int8", "--device=gpu"], "use the float model on a GPU"),
        (["campplus", "--max-batch=0"], "--max-batch"),
        (["campplus", "--form=savedmodel"], "--form"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    result = run(*arguments, "--output", tmp_path / "repo")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "repo").exists()


def test_a_repository_that_has_the_models_is_left_alone_unless_forced(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "models")
    assert run(bundle, "--output", tmp_path / "repo").exit_code == 0
    again = run(bundle, "--output", tmp_path / "repo", "--form=python")
    assert again.exit_code == 2
    assert "is there already; give --force to replace it [OUTPUT_UNUSABLE]" in again.stderr
    assert run(bundle, "--output", tmp_path / "repo", "--form=python", "--force").exit_code == 0
    assert (tmp_path / "repo" / "speaker" / "1" / "model.py").is_file()


def test_a_damaged_bundle_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(shipped_bundle(), tmp_path / "bundle"))
    damage(bundle)
    result = run(bundle, "--output", tmp_path / "repo", "--form=python")
    assert result.exit_code == 2
    assert "[MODEL_DAMAGED]" in result.stderr
    assert not (tmp_path / "repo").exists()


def test_without_onnx_the_python_form_is_written_and_the_other_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = small_bundle(tmp_path / "models")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "speakerd_server.models.utterance_graph", raising=False)
    result = run(bundle, "--output", tmp_path / "repo")
    assert result.exit_code == 2
    assert "pip install 'speakerd-server[models]'" in result.stderr
    assert run(bundle, "--output", tmp_path / "repo", "--form=python").exit_code == 0
