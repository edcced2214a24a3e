"""KServe's protocol over HTTP against a real daemon: Triton's own client, and the daemon's life."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import fleet, over_http
from support.daemon import Daemon, DaemonFailed, over_fake_engine
from support.shared import ROOT
from support.speech import Float32, noise
from support.utterances import AUDIO, MISTAKES, VOICE, alike, embedded_whole

pytestmark = pytest.mark.timeout(90)
PROGRAM = ROOT / "tests" / "support" / "triton_http_program.py"
FEW = {name: AUDIO[name] for name in ("shortest", "one second", "noise")}
PATH = "/v2/models/speaker/infer"


def asked(
    what: str, daemon: Daemon, folder: Path, audio: Mapping[str, Float32] = AUDIO
) -> Mapping[str, Any]:
    """Run a part of the program; gives what it left, as JSON or as arrays."""
    np.savez(folder / "utterances.npz", allow_pickle=False, **audio)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), what, daemon.http, str(folder)],
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert done.returncode == 0, done.stderr
    left = folder / f"{what}.json"
    if left.exists():
        told: Mapping[str, Any] = json.loads(left.read_text())
        return told
    with np.load(folder / f"{what}.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def expected(daemon: Daemon) -> Mapping[str, Float32]:
    return embedded_whole(daemon)


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
    assert told["metadata"] == told["of_version"]
    assert told["metadata"] == {
        "name": "speaker",
        "versions": ["1"],
        "platform": "speakerd",
        "inputs": [{"name": "WAV", "datatype": "FP32", "shape": [-1, -1]}],
        "outputs": [{"name": "EMBEDDINGS", "datatype": "FP32", "shape": [-1, 192]}],
    }
    config = told["config"]
    assert (config["name"], config["max_batch_size"]) == ("speaker", 64)
    assert config["input"] == [{"name": "WAV", "data_type": "TYPE_FP32", "dims": [-1]}]
    assert "dynamic_batching" in config
    states = {one["name"]: one["state"] for one in told["index"]}
    assert states["speaker"] == states["speaker_windows"] == states["campplus"] == "READY"
    assert states["campplus-int8"] == "UNAVAILABLE"
    assert {one["name"] for one in told["statistics"]} >= {"speaker", "campplus"}
    assert [one["name"] for one in told["of_speaker"]] == ["speaker"]


def test_an_utterance_gets_what_embed_gives_of_the_whole(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32]
) -> None:
    found = asked("inferred", daemon, tmp_path)
    assert list(found) == list(expected)
    for name, embedding in found.items():
        assert embedding.shape == (1, 192)
        assert alike(embedding, expected[name]), name


def test_compression_changes_nothing(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32]
) -> None:
    found = asked("compressed", daemon, tmp_path, FEW)
    assert len(found) == 9 * len(FEW)
    for name, embedding in found.items():
        assert alike(embedding, expected[name.rsplit(" ", 2)[0]]), name


@pytest.mark.parametrize("what", ["at_once", "asynchronous"])
def test_utterances_at_the_same_time_get_the_same(
    daemon: Daemon, tmp_path: Path, expected: Mapping[str, Float32], what: str
) -> None:
    found = asked(what, daemon, tmp_path)
    assert set(found) == set(expected)
    assert all(alike(found[name], expected[name]) for name in found)


def test_bundles_are_loaded_and_unloaded_by_their_names(daemon: Daemon, tmp_path: Path) -> None:
    managed = asked("managed", daemon, tmp_path, FEW)
    assert managed["ready"] == [False, True, False]
    assert managed["shape"] == [1, 192]
    assert managed["refused"] == {
        "load none": "404",
        "load configured": "400",
        "unload campplus": "409",
    }


@pytest.fixture(scope="module")
def refused(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return asked("refused", daemon, tmp_path_factory.mktemp("refused"))


@pytest.mark.parametrize(
    ("mistake", "said"),
    MISTAKES,
)
def test_a_mistake_is_answered_with_the_status_and_words_that_clients_look_for(
    mistake: str, said: str, refused: Mapping[str, tuple[str, str]]
) -> None:
    status, message = refused[mistake]
    assert status == ("404" if mistake in ("model", "version") else "400")
    assert said in message


def test_a_minute_in_json_holds_up_nobody(daemon: Daemon) -> None:
    body = over_http.in_json(np.tile(VOICE, 10)[None, :960_000])
    assert len(body) > 10 << 20
    lags_s: list[float] = []
    done = threading.Event()

    def ask_often() -> None:
        with over_http.Line(daemon.http) as line:
            while not done.is_set():
                began_s = time.monotonic()
                line.send(over_http.written("GET", "/v2/health/live"))
                assert line.answer().status == 200
                lags_s.append(time.monotonic() - began_s)

    asking = threading.Thread(target=ask_often)
    asking.start()
    try:
        answer = over_http.post(daemon.http, PATH, body)
    finally:
        done.set()
        asking.join()
    assert answer.status == 200
    assert len(lags_s) > 20


def test_without_an_address_there_is_no_http(tmp_path: Path) -> None:
    with Daemon(tmp_path, "--kserve-http-address=") as daemon:
        assert daemon.http == ""
        fleet.until(lambda: '"http": ""' in daemon.errors())


def test_a_drained_daemon_is_not_ready_and_answers_what_is_open(tmp_path: Path) -> None:
    request = over_http.binary_request(noise(1.0)[None])
    with over_fake_engine(tmp_path, delay_s=0.7) as daemon:
        with over_http.Line(daemon.http) as open_one, over_http.Line(daemon.http) as idle:
            open_one.send(request)
            idle.send(over_http.written("GET", "/v2/health/ready"))
            assert idle.answer().status == 200
            time.sleep(0.1)
            daemon.terminate()
            fleet.until(lambda: over_http.get(daemon.http, "/v2/health/ready").status == 400)
            idle.send(over_http.written("GET", "/v2/health/ready"))
            assert idle.answer().status == 400
            late = over_http.asked(daemon.http, request)
            assert (late.status, late.reason) == (503, "DRAINING")
            assert open_one.answer().status == 200
        assert daemon.process.wait(20) == 0


def test_a_port_that_is_taken_stops_the_start_by_name(tmp_path: Path, daemon: Daemon) -> None:
    address = f"--kserve-http-address={daemon.http}"
    other = tmp_path / "several"
    other.mkdir()
    for one in (Daemon(tmp_path, address), Daemon(other, address, "--workers=2")):
        with pytest.raises(DaemonFailed) as failed:
            one.wait_until_serving()
        one.stop()
        assert "kserve.http_address" in failed.value.errors
        assert daemon.http in failed.value.errors


@fleet.NEEDS_TWO_PROCESSORS
def test_several_workers_answer_on_the_one_port(tmp_path: Path) -> None:
    request = over_http.binary_request(VOICE[None, 16_000:32_000])
    with Daemon(tmp_path, "--workers=2") as daemon:
        lines = [over_http.Line(daemon.http) for _ in range(16)]
        for line in lines:
            line.send(request)
        answers = [line.answer() for line in lines]
        for line in lines:
            line.send(over_http.written("GET", "/v2/models/speaker/stats"))
        counted = [line.answer().json["model_stats"][0]["inference_count"] for line in lines]
        for line in lines:
            line.close()
        assert all(alike(one.embeddings, answers[0].embeddings) for one in answers)
        # Each worker counts what it answered itself.
        assert sum(set(counted)) == 16 or set(counted) == {8}
        assert max(counted) < 16
        index = over_http.post(daemon.http, "/v2/repository/index").json
        assert {one["name"] for one in index} >= {"speaker", "campplus"}
