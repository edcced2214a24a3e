from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.models import exporting
from speakerd_server.models.bundle import load_bundle
from support.torch_zip import archive, torch_zip
from support.wespeaker import SMALL, Arrays, random_arrays, small_shapes
from yaml import safe_dump


class Experiment:
    """The smallest experiment in a folder, and the command over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.checkpoint = folder / "avg_model.pt"
        self.mean_vec = folder / "mean_vec.npy"
        self.output = folder / "out"
        self.arrays: Arrays = random_arrays(small_shapes())
        self.config.write_text(safe_dump(SMALL))
        self.checkpoint.write_bytes(torch_zip(self.arrays))
        np.save(self.mean_vec, np.ones(16, np.float32))

    def export(self, *more: str, output: Path | None = None) -> Result:
        arguments = ["model", "export", "--config", str(self.config)]
        arguments += ["--checkpoint", str(self.checkpoint)]
        arguments += ["--output", str(output or self.output), *more]
        return CliRunner().invoke(speakerd, arguments)

    def save(self, **changed: Any) -> None:
        """Write the checkpoint with some parameters changed; None leaves one out."""
        arrays = self.arrays | changed
        kept = {name: array for name, array in arrays.items() if array is not None}
        self.checkpoint.write_bytes(torch_zip(kept))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def test_a_bundle_is_made_and_told_of(experiment: Experiment) -> None:
    result = experiment.export()
    assert result.exit_code == 0, result.stderr
    folder = experiment.output / "resnet18" / "1"
    card = load_bundle(folder).card
    assert f"wrote {folder}: ResNet18 with TSTP" in result.stdout
    assert card.sha256 in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["card.toml", "model.onnx"]


def test_every_option_is_in_the_bundle_and_in_json(experiment: Experiment) -> None:
    named = ("--name", "mine", "--version", "2024.1", "--licence", "CC-BY-4.0")
    result = experiment.export(
        *named, "--mean-vec", str(experiment.mean_vec), "--features", "--float16", "--json"
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    folder = experiment.output / "mine" / "2024.1"
    card = load_bundle(folder).card
    assert told["folder"] == str(folder)
    assert told["features"] == str(folder / "features.onnx")
    assert (folder / "features.onnx").stat().st_size > 0
    assert (told["name"], told["version"]) == (card.identity.name, card.identity.version)
    assert (told["dim"], told["min_frames"], told["precision"]) == (16, 9, "float16")
    assert told["sha256"] == card.sha256
    assert card.licence == "CC-BY-4.0"
    assert "mean_vec.npy subtracted" in card.origin


def test_a_bundle_is_replaced_only_by_force(experiment: Experiment) -> None:
    assert experiment.export("--features").exit_code == 0
    before = load_bundle(experiment.output / "resnet18" / "1").card
    experiment.save(**{"seg_1.bias": np.zeros(16, np.float32)})
    result = experiment.export()
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert load_bundle(experiment.output / "resnet18" / "1").card == before
    assert experiment.export("--force").exit_code == 0
    folder = experiment.output / "resnet18" / "1"
    assert load_bundle(folder).card.sha256 != before.sha256
    # The plain file of the bundle that was replaced would be another network's.
    assert not (folder / "features.onnx").exists()


def test_without_torchaudio_the_command_says_that_nothing_was_compared(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "check_wespeaker_front_end", lambda description: None)
    result = experiment.export("--json")
    assert result.exit_code == 0
    assert "torchaudio is not there" in result.stderr
    assert json.loads(result.stdout)["front_end_difference"] is None


class Evil:
    """Would end the process if it were unpickled by anything that executes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


def evil(experiment: Experiment) -> None:
    experiment.checkpoint.write_bytes(archive(pickle.dumps({"conv1.weight": Evil()}), {}))


def before_zip(experiment: Experiment) -> None:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
    experiment.checkpoint.write_bytes(magic + pickle.dumps(Evil()))


def cut_short(experiment: Experiment) -> None:
    content = experiment.checkpoint.read_bytes()
    experiment.checkpoint.write_bytes(content[: len(content) // 2])


def wrapped(experiment: Experiment) -> None:
    experiment.checkpoint.write_bytes(archive(pickle.dumps({"model": {}}), {}))


CHECKPOINTS: dict[str, tuple[Callable[[Experiment], object], str]] = {
    "code in the pickle": (evil, "_exit; only plain weights are read"),
    "the format before zip": (before_zip, "before version 1.6; save it again with torch.save"),
    "cut short": (cut_short, "no PyTorch zip archive"),
    "a wrapped state": (wrapped, "not a mapping from parameter names to tensors"),
    "absent": (lambda e: e.checkpoint.unlink(), "avg_model.pt cannot be read"),
    "a parameter missing": (lambda e: e.save(**{"bn1.weight": None}), "bn1.weight is missing"),
    "a parameter too many": (
        lambda e: e.save(**{"pool.linear1.weight": np.zeros(3, np.float32)}),
        "unknown to the network, first pool.linear1.weight",
    ),
    "another shape": (
        lambda e: e.save(**{"seg_1.bias": np.zeros(8, np.float32)}),
        "seg_1.bias has shape (8,), the network needs (16,)",
    ),
    "a number missing": (
        lambda e: e.save(**{"bn1.bias": np.full(32, np.nan, np.float32)}),
        "bn1.bias has numbers that are not finite",
    ),
    "a variance below zero": (
        lambda e: e.save(**{"bn1.running_var": np.full(32, -1, np.float32)}),
        "bn1.running_var has a variance below zero",
    ),
}


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_wrong_checkpoint_is_refused_and_nothing_written(
    experiment: Experiment, case: str
) -> None:
    spoil, named = CHECKPOINTS[case]
    spoil(experiment)
    result = experiment.export("--features")
    assert result.exit_code == 2
    assert named in result.stderr
    assert "[CHECKPOINT_REFUSED]" in result.stderr
    assert len(result.stderr.splitlines()) <= 2
    assert not experiment.output.exists()


CONFIGS = {
    "": "no mapping",
    "model: [": "no plain YAML",
    "model: !!python/object/apply:os._exit [3]": "no plain YAML",
    safe_dump(SMALL | {"model": "XVEC"}): "the architecture XVEC cannot be exported",
    safe_dump(SMALL | {"model_args": {"feat_dim": 8, "embed_dim": 16, "pooling_func": "MHASTP"}}): (
        "the pooling MHASTP cannot be exported; there is TSTP, ASTP, TAP, TSDP"
    ),
    safe_dump(SMALL | {"model_args": {"feat_dim": 8}}): "no model_args.embed_dim",
    safe_dump(SMALL | {"dataset_args": {}}): "no dataset_args.fbank_args",
}


@pytest.mark.parametrize("text", CONFIGS)
def test_a_wrong_configuration_is_refused_and_nothing_written(
    experiment: Experiment, text: str
) -> None:
    experiment.config.write_text(text)
    result = experiment.export()
    assert result.exit_code == 2
    assert CONFIGS[text] in result.stderr
    assert not experiment.output.exists()


def save_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, mean=np.ones(16, np.float32))


MEANS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another length": (lambda path: np.save(path, np.ones(8, np.float32)), "8 numbers"),
    "not finite": (lambda path: np.save(path, np.full(16, np.inf, np.float32)), "infinite"),
    "two axes": (lambda path: np.save(path, np.ones((2, 16), np.float32)), "the shape"),
    "words": (lambda path: np.save(path, np.array(["a"] * 16)), "array of floats"),
    "objects": (lambda path: np.save(path, np.array([Evil()]), allow_pickle=True), "no npy file"),
    "an archive": (save_npz, "no npy file of floats"),
    "no array": (lambda path: path.write_bytes(b"mean"), "no npy file"),
    "absent": (lambda path: path.unlink(), "No such file"),
}


@pytest.mark.parametrize("case", MEANS)
def test_a_wrong_mean_vector_is_refused_and_nothing_written(
    experiment: Experiment, case: str
) -> None:
    spoil, named = MEANS[case]
    spoil(experiment.mean_vec)
    result = experiment.export("--mean-vec", str(experiment.mean_vec))
    assert result.exit_code == 2
    assert named in result.stderr
    assert "mean_vec.npy" in result.stderr
    assert not experiment.output.exists()


@pytest.mark.parametrize("option", [("--name", "a/b"), ("--version", ".."), ("--name", "campplus")])
def test_a_name_that_cannot_be_used_is_refused(
    experiment: Experiment, option: tuple[str, str]
) -> None:
    result = experiment.export(*option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
    assert "[OPTION_INVALID]" in result.stderr
    assert not experiment.output.exists()


def test_an_output_that_is_a_file_is_refused(experiment: Experiment) -> None:
    result = experiment.export(output=experiment.config)
    assert result.exit_code == 2
    assert "[OUTPUT_UNUSABLE]" in result.stderr
    assert f"{experiment.config}/resnet18/1 cannot be written" in result.stderr


@pytest.mark.parametrize(("module", "named"), [("onnx", "onnx"), ("yaml", "PyYAML")])
def test_without_the_extra_the_command_says_what_to_install(
    experiment: Experiment, module: str, named: str
) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None;"
        " from speakerd_server.cli.app import speakerd; speakerd(sys.argv[1:])"
    )
    options = ("--config", experiment.config, "--checkpoint", experiment.checkpoint)
    ended = subprocess.run(
        [sys.executable, "-c", code, "model", "export", *options, "--output", experiment.output],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert f"needs {named}; install it with: pip install" in ended.stderr
    assert "speakerd-server[models]" in ended.stderr


@pytest.mark.parametrize("absent", ["--config", "--checkpoint", "--output"])
def test_what_must_be_given_is_named(absent: str) -> None:
    given = [f"{option}=x" for option in ("--config", "--checkpoint", "--output")]
    left = [option for option in given if not option.startswith(absent)]
    result = CliRunner().invoke(speakerd, ["model", "export", *left])
    assert result.exit_code == 2
    assert f"Missing option '{absent}'" in result.stderr
