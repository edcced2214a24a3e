"""`speakerd model build-engine`, for GPUs that are not here."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from speakerd_server.cards import Bundle
from speakerd_server.cli.app import speakerd
from speakerd_server.engine.engine_file import parse_engine
from speakerd_server.models.bundle import load_bundle
from support.commands import command, environment
from support.gpu import no_gpu
from support.networks import saved, small_network, taken

pytestmark = pytest.mark.timeout(90)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(speakerd, ["model", "build-engine", *map(str, arguments)])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path = saved(small_network(), tmp_path_factory.mktemp("small") / "net.onnx")
    return load_bundle(taken(path).folder)


def built(small: Bundle, folder: Path, *arguments: object) -> dict[str, Any]:
    result = run(
        small.onnx_path.parent,
        "--compute-capability=8.9",
        f"--cache-folder={folder}",
        "--json",
        *arguments,
    )
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_the_shipped_model_is_built_and_its_file_says_for_what(tmp_path: Path) -> None:
    result = run("campplus", "--compute-capability", "8.9", "--cache-folder", tmp_path)
    assert result.exit_code == 0, result.stderr
    (path,) = tmp_path.iterdir()
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{path}: built in ")
    assert "compute capability 8.9" in lines[2]
    assert lines[4].endswith("198 frames, up to 64 windows")
    assert lines[5].endswith("3 to 3000 frames, up to 4 windows")
    key = parse_engine(path.read_bytes()).key
    assert (key.model, key.precision, key.target) == (
        "campplus/1",
        "float16",
        "compute capability 8.9",
    )
    assert path.name == key.file_name


def test_options_decide_what_the_engine_is_for(small: Bundle, tmp_path: Path) -> None:
    told = built(
        small,
        tmp_path,
        "--precision=float32",
        "--samples-per-chunk=48000",
        "--max-batch=8",
        "--longest-s=10",
        "--library=tensorrt_rtx",
    )
    assert told["built"]
    assert told["size_bytes"] == Path(told["path"]).stat().st_size
    assert (told["precision"], told["library"]) == ("float32", "tensorrt_rtx")
    assert told["model_sha256"] == small.card.sha256
    assert told["profiles"] == [
        {"windows": [1, 4, 8], "frames": [298, 298, 298]},
        {"windows": [1, 1, 2], "frames": [1, 596, 1000]},
    ]


def test_an_engine_that_is_there_is_left_alone_unless_forced(small: Bundle, tmp_path: Path) -> None:
    path = Path(built(small, tmp_path)["path"])
    before = path.stat().st_mtime_ns
    again = built(small, tmp_path)
    assert (again["built"], again["seconds"]) == (False, None)
    assert path.stat().st_mtime_ns == before
    assert built(small, tmp_path, "--force")["built"]
    assert path.stat().st_mtime_ns > before


def test_a_damaged_engine_is_built_anew(small: Bundle, tmp_path: Path) -> None:
    path = Path(built(small, tmp_path)["path"])
    path.write_bytes(path.read_bytes()[:-1])
    assert built(small, tmp_path)["built"]
    assert parse_engine(path.read_bytes()).plan


def test_an_engine_can_be_written_to_a_file_of_any_name(small: Bundle, tmp_path: Path) -> None:
    wanted = tmp_path / "new" / "my.engine"
    assert built(small, tmp_path / "unused", "--output", wanted)["path"] == str(wanted)
    assert not (tmp_path / "unused").exists()
    assert parse_engine(wanted.read_bytes()).key.model == "mine/1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["campplus", "--compute-capability=9.0"], "no target for compute capability 9.0"),
        (["campplus", "--compute-capability=9.0"], "ENGINE_BUILD_FAILED"),
        (["campplus", "--compute-capability=sm89"], "write it like 8.9"),
        (["campplus", "--compute-capability=8.9", "--device=gpu:0"], "not both"),
        (["campplus", "--device=cpu"], "engines are for GPUs"),
        (["campplus", "--device=gpu"], "write cpu or gpu:N"),
        (["campplus", "--library=tensorrt"], "tensorrt is not installed"),
        (["campplus-int8", "--compute-capability=8.9"], "use the float model on a GPU"),
        (
            ["campplus", "--compute-capability=8.9", "--samples-per-chunk=-1"],
            "profile of their own",
        ),
        (["campplus", "--compute-capability=8.9", "--samples-per-chunk=719"], "use 720 to 960000"),
        (["nonesuch", "--compute-capability=8.9"], "MODEL_UNUSABLE"),
        (["campplus", "--compute-capability=8.9", "--output=/proc/x"], "OUTPUT_UNUSABLE"),
        (["campplus", "--compute-capability=8.9", "--max-batch=0"], "--max-batch"),
        (["campplus", "--compute-capability=8.9", "--longest-s=nan"], "OPTION_INVALID"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.rglob("*.engine*")) == []


def test_without_a_gpu_one_has_to_say_for_which_and_is_told_what_was_found(tmp_path: Path) -> None:
    found = no_gpu()
    result = run("campplus", "--cache-folder", tmp_path)
    assert result.exit_code == 2
    assert f"gpu:0 was asked for and cannot be used; found: {found}" in result.stderr
    assert "[DEVICE_UNAVAILABLE]" in result.stderr


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    result = run("campplus", "--compute-capability=8.9")
    assert result.exit_code == 2
    assert "pip install 'speakerd-server[tensorrt]'" in result.stderr


def test_sigint_ends_a_build_and_leaves_nothing(tmp_path: Path) -> None:
    options = ["--compute-capability=8.9", f"--cache-folder={tmp_path / 'engines'}", "--json"]
    building = subprocess.Popen(
        command("model", "build-engine", "campplus", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    time.sleep(2.0)
    building.send_signal(signal.SIGINT)
    out, said = building.communicate(timeout=60)
    assert (building.returncode, out) == (130, ""), said
    assert said == "speakerd: interrupted\n"
    assert list(tmp_path.rglob("*.engine*")) == []
