from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto
from speakerd_server.cli.app import speakerd
from speakerd_server.models.bundle import load_bundle
from speakerd_server.models.choice import find_bundle
from support.networks import DIM, saved, small_network


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", "import", *map(str, arguments)])


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return saved(small_network(), tmp_path / "voxceleb resnet.onnx")


def test_a_network_becomes_a_bundle_that_the_name_of_its_folder_finds(
    tmp_path: Path, network: Path
) -> None:
    result = run(network, "--front-end", "wespeaker", "--output", tmp_path / "models")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "models" / "voxceleb-resnet" / "1"
    assert result.stdout.startswith(f"wrote {folder}\n")
    assert "not calibrated" in result.stdout
    assert find_bundle(str(folder.parent)) == folder
    assert load_bundle(folder).card.licence == "LicenseRef-unknown"


def test_all_that_is_given_stands_in_the_document_and_the_card(
    tmp_path: Path, network: Path
) -> None:
    np.save(tmp_path / "mean_vec.npy", np.zeros(DIM, np.float32))
    described = tmp_path / "mine.toml"
    described.write_text('sample_scale = 32768\nwindow = "hanning"\n')
    output = tmp_path / "models"
    result = run(
        *(network, "--front-end", described, "--output", output, "--name", "mine"),
        *("--version", "2024-11", "--licence", "CC-BY-4.0", "--origin", "trained here"),
        *("--mean-vec", tmp_path / "mean_vec.npy", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    card = load_bundle(Path(told["folder"])).card
    assert told["folder"] == str(output / "mine" / "2024-11")
    assert (told["name"], told["version"], told["dim"]) == ("mine", "2024-11", DIM)
    assert told["front_end"] == card.identity.front_end
    assert told["front_end"].startswith("described-")
    assert (told["licence"], told["sha256"]) == (card.licence, card.sha256)
    assert told["origin"].startswith("trained here; voxceleb resnet.onnx, SHA-256 ")
    assert told["lowest_cosine"] >= 0.999999
    assert told["highest_relative_difference"] <= 1e-4


def test_a_second_time_needs_force(tmp_path: Path, network: Path) -> None:
    given = (network, "--front-end", "3dspeaker", "--output", tmp_path / "models")
    assert run(*given).exit_code == 0
    again = run(*given)
    assert again.exit_code == 2
    assert again.stderr.startswith("speakerd: the output ")
    assert again.stderr.endswith("[OUTPUT_UNUSABLE]\n")
    assert run(*given, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("--front-end", "wespeakr"), "OPTION_INVALID"),
        (("--name", "../up"), "OPTION_INVALID"),
        (("--name", "campplus"), "OPTION_INVALID"),
        (("--version", ""), "OPTION_INVALID"),
        (("--mean-vec", "absent.npy"), "VECTORS_UNUSABLE"),
    ],
)
def test_a_wrong_option_ends_with_its_reason_and_writes_nothing(
    tmp_path: Path, network: Path, changed: tuple[str, str], reason: str
) -> None:
    result = run(network, "--front-end", "wespeaker", "--output", tmp_path / "models", *changed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"[{reason}]\n")
    assert not (tmp_path / "models").exists()


def test_a_network_that_does_not_fit_ends_with_the_reason(tmp_path: Path) -> None:
    path = saved(small_network(kind=TensorProto.INT16), tmp_path / "net.onnx")
    result = run(path, "--front-end", "wespeaker", "--output", tmp_path / "models", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "its input feats is int16, float32 is wanted" in result.stderr
    assert result.stderr.endswith("[GRAPH_REFUSED]\n")


def test_an_output_that_is_a_file_is_named(tmp_path: Path, network: Path) -> None:
    result = run(network, "--front-end", "wespeaker", "--output", network)
    assert result.exit_code == 2
    assert result.stderr.endswith("[OUTPUT_UNUSABLE]\n")


def test_bytes_of_the_command_line_that_are_no_text_do_no_harm(
    tmp_path: Path, network: Path
) -> None:
    result = run(
        *(network, "--front-end", "wespeaker", "--output", tmp_path / "models"),
        *("--origin", "from \udcff", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["origin"].startswith("from ?; ")


def test_without_the_package_onnx_the_extra_is_named(tmp_path: Path, network: Path) -> None:
    program = "import sys; sys.modules['onnx'] = None; from speakerd_server.cli.app import speakerd"
    arguments = ["model", "import", str(network), "--front-end", "wespeaker", "--output", "out"]
    done = subprocess.run(
        [sys.executable, "-c", f"{program}; speakerd({arguments!r})"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'speakerd-server[models]'" in done.stderr
    assert done.stderr.endswith("[EXTRA_MISSING]\n")
