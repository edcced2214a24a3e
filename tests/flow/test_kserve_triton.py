"""Triton's own client, as it is on PyPI, against a real daemon, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
from speakerd.kserve import inference_pb2 as kserve
from speakerd_client import Client, read_wav_scp
from support import wire
from support.daemon import Daemon, over_fake_engine
from support.shared import ROOT
from support.speech import VOICES, Float32
from support.utterances import AUDIO, MISTAKES, alike, embedded_whole

pytestmark = pytest.mark.timeout(90)
PROGRAM = ROOT / "tests" / "support" / "triton_program.py"
EXAMPLE = ROOT / "docs" / "examples" / "kserve_extract.py"


def run(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=80
    )
    assert done.returncode == 0, done.stderr


def asked(what: str, daemon: Daemon, folder: Path) -> Any:
    """Run a part of the program; gives the JSON it left, if any."""
    np.savez(folder / "utterances.npz", allow_pickle=False, **AUDIO)
    run(PROGRAM, what, daemon.address, folder)
    left = folder / f"{what}.json"
    return json.loads(left.read_text()) if left.exists() else None


def left_in(path: Path) -> dict[str, Float32]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def expected(daemon: Daemon) -> Mapping[str, Float32]:
    return embedded_whole(daemon)


def assert_alike(found: Mapping[str, Float32], expected: Mapping[str, Float32]) -> None:
    assert list(found) == list(expected)
    assert all(alike(one, expected[name]) for name, one in found.items())


def test_the_client_is_told_what_it_asks(daemon: Daemon, tmp_path: Path) -> None:
    told = asked("told", daemon, tmp_path)
    assert told["live"] is told["ready"] is True
    assert told["models"] == {
        "speaker": True,
        "speaker_model": True,
        "speaker_windows": True,
        "campplus": True,
        "none": False,
    }
    assert told["versions"] == [True, False]
    assert told["server"]["name"] == "speakerd"
    assert told["metadata"] == {
        "name": "speaker",
        "versions": ["1"],
        "platform": "speakerd",
        "inputs": [{"name": "WAV", "datatype": "FP32", "shape": ["-1", "-1"]}],
        "outputs": [{"name": "EMBEDDINGS", "datatype": "FP32", "shape": ["-1", "192"]}],
    }
    config = told["config"]
    assert (config["name"], config["max_batch_size"]) == ("speaker", 64)
    assert config["input"] == [{"name": "WAV", "data_type": "TYPE_FP32", "dims": ["-1"]}]
    assert config["output"] == [{"name": "EMBEDDINGS", "data_type": "TYPE_FP32", "dims": ["192"]}]
    assert "dynamic_batching" in config
    assert "ensemble_scheduling" not in config
    states = {one["name"]: one["state"] for one in told["index"]}
    assert states["speaker"] == states["speaker_windows"] == states["campplus"] == "READY"
    assert states["campplus-int8"] == "UNAVAILABLE"
    assert {one["name"] for one in told["statistics"]} >= {"speaker", "campplus"}


def test_an_utterance_gets_what_embed_gives_of_the_whole(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32]
) -> None:
    asked("inferred", daemon, tmp_path)
    found = left_in(tmp_path / "inferred.npz")
    assert {embedding.shape for embedding in found.values()} == {(1, 192)}
    assert_alike(found, expected)


def test_the_asynchronous_client_gets_the_same_at_once_and_as_a_stream(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32]
) -> None:
    asked("inferred_async", daemon, tmp_path)
    assert_alike(left_in(tmp_path / "inferred.npz"), expected)
    assert_alike(left_in(tmp_path / "streamed.npz"), expected)


def test_an_error_in_a_stream_is_an_answer_and_not_its_end(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32]
) -> None:
    errors = asked("streamed", daemon, tmp_path)
    assert len(errors) == len(AUDIO)
    assert set(errors) == {"Request for unknown model: 'none' is not found"}
    assert_alike(left_in(tmp_path / "streamed.npz"), expected)


def test_bundles_are_loaded_and_unloaded_by_their_names(daemon: Daemon, tmp_path: Path) -> None:
    managed = asked("managed", daemon, tmp_path)
    assert managed["ready"] == [False, True, False]
    assert managed["shape"] == [1, 192]
    assert managed["refused"] == {
        "load none": "StatusCode.NOT_FOUND",
        "load configured": "StatusCode.INVALID_ARGUMENT",
        "unload campplus": "StatusCode.FAILED_PRECONDITION",
    }


@pytest.fixture(scope="module")
def refused(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return asked("refused", daemon, tmp_path_factory.mktemp("refused"))


@pytest.mark.parametrize(
    ("mistake", "said"),
    MISTAKES,
)
def test_a_mistake_is_answered_with_the_code_and_words_that_clients_look_for(
    mistake: str, said: str, refused: Mapping[str, tuple[str, str]]
) -> None:
    status, message = refused[mistake]
    known = "NOT_FOUND" if mistake in ("model", "version") else "INVALID_ARGUMENT"
    assert status == f"StatusCode.{known}"
    assert said in message


def test_what_the_client_cancels_is_never_computed(tmp_path: Path) -> None:
    flags = ("--engine-maximum-batch-windows=1",)
    with over_fake_engine(tmp_path, *flags, delay_s=0.6) as slow:
        assert asked("cancelled", slow, tmp_path) == "StatusCode.CANCELLED"
        with wire.connected(slow.address) as stubs:
            (found,) = stubs.inference.ModelStatistics(
                kserve.ModelStatisticsRequest(name="speaker")
            ).model_stats
        told = found.inference_stats
        assert (told.success.count, told.fail.count, found.inference_count) == (1, 1, 1)


def test_a_list_is_embedded_into_kaldis_files_as_by_speakerctl(
    daemon: Daemon, tmp_path: Path
) -> None:
    wav_scp = tmp_path / "wav.scp"
    files = sorted(VOICES.glob("*.flac"))
    wav_scp.write_text("".join(f"{path.stem} {path}\n" for path in files))
    run(EXAMPLE, daemon.address, wav_scp, tmp_path)
    with Client(daemon.address) as client:
        listed = read_wav_scp(wav_scp)
        extracted = list(client.extract(listed, tmp_path / "ours", samples_per_chunk=-1))
    assert [one.error for one in extracted] == [None] * len(files)
    ours: dict[str, Float32] = {}
    for path in sorted((tmp_path / "ours").glob("*.scp")):
        ours |= kaldiio.load_scp(str(path))
    theirs = dict(kaldiio.load_scp(str(tmp_path / "xvector.scp")))
    assert list(theirs) == [path.stem for path in files]
    assert_alike(
        {name: one[None] for name, one in theirs.items()},
        {name: ours[name][None] for name in theirs},
    )
