"""`speakerd model quantize`, on the shipped model and real recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from speakerd_server.cli.app import speakerd
from speakerd_server.engine.onnxruntime_cpu import OnnxRuntimeCpu
from speakerd_server.models.bundle import load_bundle, shipped_bundle
from speakerd_server.windows.slicer import Slicer
from support.networks import saved, small_network, taken
from support.shared import shared_path
from support.speech import eval_ids, eval_utterance

pytestmark = pytest.mark.timeout(240)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", "quantize", *map(str, arguments)])


@pytest.fixture(scope="module")
def some_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav.scp of four recordings and one that is not there."""
    scp = tmp_path_factory.mktemp("speech") / "wav.scp"
    cohort = sorted(shared_path("data/librispeech/cohort").glob("*.flac"))[:4]
    lines = [f"{path.stem} {path}\n" for path in cohort]
    scp.write_text("".join([*lines, "absent /nowhere/absent.wav\n"]))
    return scp


@pytest.fixture(scope="module")
def made(some_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    output = tmp_path_factory.mktemp("made")
    result = run("campplus", "--audio", some_speech, "--output", output, "--name=mine", "--json")
    return result, output / "mine" / "1"


def test_a_bundle_is_written_and_what_it_costs_is_told(made: tuple[Result, Path]) -> None:
    result, folder = made
    told: dict[str, Any] = json.loads(result.stdout)
    assert (told["name"], told["version"], told["folder"]) == ("mine", "1", str(folder))
    assert told["size_bytes"] == (folder / "model.onnx").stat().st_size
    assert told["size_bytes"] < 0.65 * told["float_size_bytes"]
    assert (told["calibration_windows"], told["held_out_windows"], told["recordings"]) == (12, 4, 4)
    assert [speed["batch"] for speed in told["speeds"]] == [1, 8]
    assert all(speed["windows_per_s"] > 0 for speed in told["speeds"])
    assert 0.95 < told["worst_cosine"] <= told["mean_cosine"] < 1
    assert told["batch_cosine"] >= 1 - 1e-6


def test_a_recording_that_cannot_be_read_is_named_and_makes_exit_code_1(
    made: tuple[Result, Path],
) -> None:
    result, _ = made
    assert result.exit_code == 1
    assert "/nowhere/absent.wav" in result.stderr
    assert "AUDIO_FILE_UNUSABLE" in result.stderr
    assert json.loads(result.stdout)["unusable"] == ["/nowhere/absent.wav"]


def test_the_new_model_has_an_identity_of_its_own_and_no_thresholds(
    made: tuple[Result, Path],
) -> None:
    card, source = load_bundle(made[1]).card, load_bundle(shipped_bundle()).card
    assert card.identity != source.identity
    assert (card.precision, card.accept_at, card.calibration.measured) == ("int8", None, ())
    assert "not calibrated" in card.calibration.trials
    assert source.sha256 in card.origin
    assert card.origin.startswith(source.origin)
    assert (made[1] / "LICENSE").read_bytes() == (shipped_bundle() / "LICENSE").read_bytes()


def test_the_engine_runs_it(made: tuple[Result, Path]) -> None:
    (window, *_) = Slicer(32000, 3).push(eval_utterance(eval_ids()[0]))
    embedding = OnnxRuntimeCpu(load_bundle(made[1])).embed(window.pcm[None], window.rows[None])
    assert embedding.shape == (1, 192)


def test_an_8_bit_model_is_not_quantized_again(
    made: tuple[Result, Path], some_speech: Path, tmp_path: Path
) -> None:
    result = run(made[1], "--audio", some_speech, "--output", tmp_path)
    assert result.exit_code == 2
    assert "int8 already" in result.stderr


def test_a_bundle_that_is_there_is_kept(made: tuple[Result, Path], some_speech: Path) -> None:
    result = run("campplus", "--audio", some_speech, "--output", made[1].parents[1], "--name=mine")
    assert result.exit_code == 2
    assert "--force" in result.stderr


def test_nothing_is_written_where_8_bits_cost_too_much(some_speech: Path, tmp_path: Path) -> None:
    options = ("--output", tmp_path / "out", "--name=mine", "--lowest-cosine=1")
    result = run("campplus", "--audio", some_speech, *options)
    assert result.exit_code == 1
    assert "nothing was written: its worst cosine to the float model is 0.9" in result.stderr
    assert "held-out windows" in result.stdout
    assert "wrote" not in result.stdout
    assert not (tmp_path / "out").exists()


def test_the_name_of_the_float_model_is_refused(tmp_path: Path, some_speech: Path) -> None:
    folder = taken(saved(small_network(), tmp_path / "net.onnx")).folder
    name = load_bundle(folder).card.identity.name
    result = run(folder, "--audio", some_speech, "--output", tmp_path / "out", "--name", name)
    assert result.exit_code == 2
    assert "voiceprints would be mixed" in result.stderr


def test_the_name_of_the_shipped_int8_model_is_refused(tmp_path: Path, some_speech: Path) -> None:
    result = run("campplus", "--audio", some_speech, "--output", tmp_path)
    assert result.exit_code == 2
    assert "campplus-int8 is the name of a shipped model" in result.stderr


@pytest.mark.parametrize(
    ("model", "audio", "named"),
    [
        ("campplus", "absent.scp", "LIST_INVALID"),
        ("campplus", ".", "no audio file is in this folder"),
        ("nothing-like-it", ".", "MODEL_UNUSABLE"),
        ("./", ".", "MODEL_UNUSABLE"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, audio: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(model, "--audio", audio, "--output", tmp_path / "out", "--name=mine")
    assert result.exit_code == 2
    assert named in result.stderr
