from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speakerd_server.models.bundle import shipped_bundle
from speakerd_server.models.other_front_end import with_front_end
from speakerd_server.offline.vectors import read_vectors
from support.commands import command, environment, speakerd
from support.shared import shared_path
from support.speech import RATE_HZ, eval_utterance, pcm16

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def short_list(tmp_path: Path) -> Path:
    """Five cuts of real speech and their list, with relative paths."""
    lines = []
    for number in range(5):
        name = f"1688-142285-000{number}"
        soundfile.write(tmp_path / f"{name}.flac", eval_utterance(name)[:32_000], RATE_HZ)
        lines.append(f"{name} {name}.flac\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    return tmp_path / "wav.scp"


def extract(*options: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return speakerd("extract", "--wav-scp", "wav.scp", *options, folder=folder)


def test_a_list_becomes_an_ark_and_its_totals_are_told(short_list: Path, tmp_path: Path) -> None:
    done = extract("--output", "x.ark", folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    assert said.startswith("5 of 5 recordings embedded into x.ark: 10.0 s of audio, 5 windows; ")
    assert "; RTF 0.0" in said
    assert (tmp_path / "x.scp").read_text().splitlines()[0] == "1688-142285-0000 x.ark:17"
    found = read_vectors(tmp_path / "x.ark")
    assert found.ids == tuple(f"1688-142285-000{n}" for n in range(5))
    assert found.values.shape == (5, 192)


def test_json_tells_the_same_to_a_script(short_list: Path, tmp_path: Path) -> None:
    with short_list.open("a") as lines:
        lines.write("gone gone.wav\n")
    done = extract("--output", "x.npz", "--json", "--samples-per-chunk", -1, folder=tmp_path)
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["output"] == "x.npz"
    assert told["model"].startswith("campplus/1 ")
    assert (told["recordings"], told["embedded"], told["resumed"]) == (6, 5, 0)
    assert (told["windows"], told["audio_s"], told["samples_per_chunk"]) == (5, 10.0, -1)
    assert 0 < told["rtf"] == pytest.approx(told["processing_s"] / 10.0, abs=1e-5)
    (failed,) = told["failed"]
    assert failed["id"] == "gone"
    assert failed["path"] == "gone.wav"
    assert failed["line"] == 6
    assert failed["reason"] == "AUDIO_FILE_UNUSABLE"


def test_bad_files_are_named_and_the_rest_goes_on(short_list: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "1688-142285-0000.flac").read_bytes()[:9000])
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), RATE_HZ)
    soundfile.write(tmp_path / "two.wav", np.zeros((32_000, 2)), RATE_HZ)
    (tmp_path / "raw.sln").write_bytes(bytes(1000))
    bad = {
        "text": "text.wav",
        "cut": "cut.wav",
        "silent": "silent.wav",
        "two": "two.wav",
        "raw": "raw.sln",
        "folder": ".",
        "gone": "gone.wav",
    }
    good = short_list.read_text().splitlines(keepends=True)
    lines = [f"{name} {path}\n" for name, path in bad.items()]
    short_list.write_text("".join([*good[:2], *lines, *good[2:]]))
    done = extract("--output", "x.txt", folder=tmp_path)
    assert done.returncode == 1
    for said, name in zip(done.stderr.splitlines(), bad, strict=False):
        assert said.startswith(f"speakerd: {name}: the audio file {bad[name]} cannot be used: ")
    assert "5 of 12 recordings embedded into x.txt (7 could not be)" in done.stderr
    assert "--channel 0 to 1" in done.stderr
    lines = (tmp_path / "x.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"1688-142285-000{n}" for n in range(5)]
    assert {len(line.split(" ")) for line in lines} == {193}


def test_raw_audio_and_a_channel_are_read_as_told(short_list: Path, tmp_path: Path) -> None:
    speech = eval_utterance("1688-142285-0000")[:32_000]
    both = np.stack([np.zeros_like(speech), speech], axis=1)
    (tmp_path / "x.raw").write_bytes(pcm16(both.ravel()))
    (tmp_path / "wav.scp").write_text("a x.raw\n")
    options = ("--raw", "pcm16le:16000:2", "--channel", 1)
    assert extract("--output", "x.npz", *options, folder=tmp_path).returncode == 0
    (tmp_path / "wav.scp").write_text("a 1688-142285-0000.flac\n")
    assert extract("--output", "y.npz", folder=tmp_path).returncode == 0
    raw, flac = (read_vectors(tmp_path / f"{name}.npz").values for name in "xy")
    np.testing.assert_array_equal(raw, flac)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--output", "x.npy"), "must end with .txt, .ark, .npz"),
        (("--output", "none/x.ark"), "No such file or directory"),
        (("--output", "wav.ark"), "the list wav.scp would be replaced"),
        (("--output", "x.ark", "--model", "campluss"), "[MODEL_UNUSABLE]"),
        (("--output", "x.ark", "--samples-per-chunk", "0"), "[SAMPLES_PER_CHUNK_INVALID]"),
        (("--output", "x.ark", "--raw", "mp3:8000"), "--raw: mp3:8000 is no ENCODING:RATE"),
        (("--output", "x.ark", "--wav-root", "none"), "none of 5 recordings could be embedded"),
        (("--output", "x.ark", "--threads", "0"), "Invalid value for '--threads'"),
        (("--output", "x.ark", "--wav-scp", "none.scp"), "none.scp: it cannot be read"),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_leaves_nothing(
    short_list: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    before = sorted(tmp_path.iterdir())
    done = extract(*options, folder=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_list_with_a_command_is_refused(short_list: Path, tmp_path: Path) -> None:
    short_list.write_text("a touch ran |\n")
    done = extract("--output", "x.ark", folder=tmp_path)
    assert done.returncode == 2
    assert "line 1: a is a command" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_finished_output_is_replaced_only_when_asked(short_list: Path, tmp_path: Path) -> None:
    assert extract("--output", "x.txt", folder=tmp_path).returncode == 0
    before = (tmp_path / "x.txt").read_bytes()
    done = extract("--output", "x.txt", folder=tmp_path)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert extract("--output", "x.txt", "--overwrite", folder=tmp_path).returncode == 0
    assert (tmp_path / "x.txt").read_bytes() == before


RECORDINGS = 16


class Running:
    """An extraction of 16 real recordings as a process of its own."""

    def __init__(self, folder: Path, output: str) -> None:
        folder.mkdir()
        path = shared_path("data/trials/wav.scp")
        lines = path.read_text().splitlines(keepends=True)[:RECORDINGS]
        (folder.parent / "some.scp").write_text("".join(lines))
        self.arguments = [
            *("extract", "--wav-scp", "../some.scp", "--wav-root", path.parents[2]),
            *("--output", output, "--threads", 1),
        ]
        self.folder, self.partial = folder, folder / f"{output}.partial"

    def ended(self, sent: signal.Signals, size_bytes: int) -> int:
        """Start it and end it once so much is on the disk; gives its exit code."""
        process = subprocess.Popen(
            command(*self.arguments),
            cwd=self.folder,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline_s = time.monotonic() + 60
        while not self.partial.exists() or self.partial.stat().st_size < size_bytes:
            assert process.poll() is None, "it ended too early"
            assert time.monotonic() < deadline_s
            time.sleep(0.002)
        process.send_signal(sent)
        _, self.said = process.communicate(timeout=60)
        return process.returncode

    def finished(self, *options: str) -> subprocess.CompletedProcess[str]:
        return speakerd(*self.arguments, *options, folder=self.folder)


@pytest.mark.parametrize("suffix", [".ark", ".npz"])
def test_a_killed_extraction_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, suffix: str
) -> None:
    output = f"x{suffix}"
    whole = Running(tmp_path / "whole", output)
    assert whole.finished().returncode == 0
    killed = Running(tmp_path / "killed", output)
    for size_bytes in (2_000, 6_000):
        assert killed.ended(signal.SIGKILL, size_bytes) == -signal.SIGKILL
        assert [path.name for path in killed.folder.iterdir()] == [f"{output}.partial"]
    # As if the process had been killed inside a write.
    with killed.partial.open("ab") as file:
        file.write(b"\x07" * 100)
    done = killed.finished("--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    assert 7 <= told["resumed"] < RECORDINGS
    assert told["embedded"] == RECORDINGS
    for path in whole.folder.iterdir():
        assert (killed.folder / path.name).read_bytes() == path.read_bytes()
    assert sorted(p.name for p in whole.folder.iterdir()) == sorted(
        p.name for p in killed.folder.iterdir()
    )


def test_an_interrupted_extraction_says_how_to_go_on(tmp_path: Path) -> None:
    running = Running(tmp_path / "run", "x.ark")
    assert running.ended(signal.SIGINT, 2_000) == 130
    assert "what is done is in x.ark.partial; the same command goes on from it" in running.said
    assert "Traceback" not in running.said
    done = running.finished("--samples-per-chunk", "48000")
    assert done.returncode == 2
    assert "another samples_per_chunk (32000, now 48000)" in done.stderr
    done = running.finished()
    assert done.returncode == 0
    assert " of them by an earlier run" in done.stderr


def test_another_model_does_not_go_on_from_a_begun_one(tmp_path: Path) -> None:
    other = with_front_end(shipped_bundle(), "wespeaker", tmp_path / "bundle")
    running = Running(tmp_path / "run", "x.ark")
    running.ended(signal.SIGKILL, 1_000)
    done = running.finished("--model", str(other))
    assert done.returncode == 2
    assert "another model (campplus/1 (3dspeaker-" in done.stderr
    assert running.finished("--model", str(other), "--overwrite").returncode == 0


def test_progress_is_drawn_on_a_terminal_alone(short_list: Path, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command("extract", "--wav-scp", "wav.scp", "--output", "x.txt"),
        cwd=tmp_path,
        env=environment() | {"TERM": "xterm"},
        stderr=follower,
        stdout=follower,
    )
    os.close(follower)
    said = b""
    while True:
        try:
            said += os.read(leader, 4096)
        except OSError:
            break
    os.close(leader)
    assert process.wait(timeout=30) == 0
    assert b"embedding" in said
    assert b"100%" in said
