"""speakerctl load: what it refuses, in one line and before anything is sent."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, noise

CALL = str(VOICES / "slt-call.flac")


@pytest.fixture(autouse=True)
def address(light: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", light.address)
    return light.address


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--streams", "0"], "--streams must be 1 to 100000, not 0"),
        (["--streams", "-1"], "--streams must be 1 to"),
        (["--streams", "1000000000"], "--streams must be 1 to"),
        (["--streams", "many"], "--streams"),
        (["--seconds", "0"], "--seconds must be above 0"),
        (["--seconds", "-5"], "--seconds must be above 0"),
        (["--seconds", "nan"], "--seconds must be above 0"),
        (["--settle", "20"], "--settle must be from 0 to below --seconds 20"),
        (["--message-ms", "0"], "--message-ms must be 1 to 10000"),
        (["--message-ms", "33", "--rate", "11025"], "take a multiple of 40"),
        (["--jitter-ms", "150"], "--jitter-ms must be 0 to 100 (at most one message)"),
        (["--rate", "4000"], "--rate must be 8000 to 48000"),
        (["--encoding", "mp3"], "--encoding"),
        (["--processes", "0"], "--processes must be 1 to 256"),
        (["--connections", "0"], "--connections must be 1 to"),
        (["--samples-per-chunk", "-1", "--seconds", "90"], "at most 60 s"),
        (["--find-capacity", "--lag-ms", "0"], "--lag-ms must be 1 to"),
        (["--find-capacity", "--resolution", "80%"], "--resolution must be 0.1 to 50"),
        (["--find-capacity", "--resolution", "fine"], "--resolution takes percent such as 5%"),
        (["--find-capacity", "--seconds", "3"], "--seconds 3 is too short: a window takes 1.98 s"),
        (["--find-capacity", "--samples-per-chunk", "-1"], "--find-capacity needs windows"),
        (["--find-capacity", "--concurrency", "8"], "--concurrency would do nothing"),
        (["--concurrency", "8"], "--concurrency would do nothing"),
        (["--lag-ms", "100"], "--lag-ms would do nothing"),
        (["--channel", "0"], "--channel would do nothing: there is no file"),
        (["--closed-loop", "embed", "--streams", "8"], "--streams would do nothing"),
        (["--closed-loop", "embed", "--find-capacity"], "--find-capacity would do nothing"),
        (["--closed-loop", "embed", "--jitter-ms", "0"], "--jitter-ms would do nothing"),
        (["--closed-loop", "embed", "--speaker", "a"], "--speaker would do nothing"),
        (["--closed-loop", "embed", "--concurrency", "8,x"], "--concurrency takes numbers such"),
        (["--closed-loop", "embed", "--concurrency", "0"], "--concurrency must be 1 to"),
        (["--closed-loop", "none"], "--closed-loop"),
        (["--none"], "--none"),
        (["missing.wav"], "missing.wav: No such file"),
        (["--plot", "missing/load.png"], "there is no folder missing; make it first"),
        (["--plot", "."], "that is a folder; name a file"),
        (["--address", "localhost"], "host:port"),
    ],
)
def test_what_cannot_be_run_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["load", *arguments]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_files_that_cannot_be_sent_are_one_line_and_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    two, text = tmp_path / "two.wav", tmp_path / "text.wav"
    soundfile.write(two, np.stack([noise(1.0, 1), noise(1.0, 2)], 1), RATE_HZ)
    text.write_text("hello")
    for path, words in ((two, "2 channels; choose one"), (text, "not an audio file")):
        assert run(["load", CALL, str(path)]) == 2
        told = capsys.readouterr().err
        assert f"{path}: " in told
        assert words in told
        assert told.count("\n") == 1
    assert run(["load", str(two), "--channel", "1", "--seconds", "0.3", "--streams", "1"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--address", "127.0.0.1:1"], "no daemon answers at 127.0.0.1:1"),
        (["--closed-loop", "embed", "--address", "127.0.0.1:1"], "no daemon answers"),
        (["--find-capacity", "--address", "127.0.0.1:1"], "no daemon answers"),
        (["--speaker", "nobody"], "SPEAKER_UNKNOWN"),
        (["--model", "none"], "MODEL_UNKNOWN"),
        (["--closed-loop", "embed", "--model", "none"], "MODEL_UNKNOWN"),
        (["--closed-loop", "verify", "--domain", "none"], "DOMAIN_UNKNOWN"),
        (["--domain", "none"], "DOMAIN_UNKNOWN"),
        (["--samples-per-chunk", "5"], "SAMPLES_PER_CHUNK_INVALID"),
        (["--samples-per-chunk", "99999999999"], "cannot be sent"),
    ],
)
def test_what_the_daemon_does_not_take_is_one_line_and_3(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["load", *arguments]) == 3
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_a_plot_without_matplotlib_names_the_extra(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(["load", "--plot", str(tmp_path / "load.png")]) == 2
    assert "pip install 'speakerd-client[cli,plot]'" in capsys.readouterr().err


def test_a_picture_that_was_not_drawn_leaves_things_as_they_were(tmp_path: Path) -> None:
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"a picture")
    for path in (old, new):
        assert run(["load", "--plot", str(path), "--address", "127.0.0.1:1"]) == 3
    assert old.read_bytes() == b"a picture"
    assert not new.exists()


@pytest.mark.parametrize("folder", ["/proc", "/sys"])
def test_a_place_where_nothing_can_be_written_is_named(
    capsys: pytest.CaptureFixture[str], folder: str
) -> None:
    assert run(["load", "--plot", f"{folder}/load.png", "--address", "127.0.0.1:1"]) == 2
    assert f"--plot {folder}/load.png: " in capsys.readouterr().err


def test_too_few_descriptors_are_named() -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))

    command = [sys.executable, "-m", "speakerd_client", "load", "--streams", "200"]
    done = subprocess.run(
        [*command, "--connections", "200"], capture_output=True, text=True, preexec_fn=limit
    )
    assert (done.returncode, done.stdout) == (2, "")
    errors = done.stderr
    assert "200 connections of 1 generating process need 232 file descriptors" in errors
