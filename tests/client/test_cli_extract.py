"""speakerctl extract: what it prints, how it exits, and what is left when it is ended."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest
import soundfile
from speakerd_client.cli.app import run
from speakerd_client.journal import JOURNAL_NAME
from support.daemon import Daemon
from support.speech import RATE_HZ, VOICES, noise

VOICE_FILES = sorted(VOICES.glob("*.flac"))


@pytest.fixture(autouse=True)
def address(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    return daemon.address


def wav_scp(folder: Path, /, **files: Path | str) -> str:
    path = folder / "wav.scp"
    path.write_text("".join(f"{name} {file}\n" for name, file in files.items()))
    return str(path)


def voices(folder: Path, times: int = 1) -> str:
    named = {f"{n}-{path.stem}": path for n in range(times) for path in VOICE_FILES}
    return wav_scp(folder, **named)


def started(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "speakerd_client", "extract", *arguments]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.Popen(command, text=True, **streams)


def ids(folder: Path) -> list[str]:
    paths = sorted(folder.glob("xvector_*.scp"))
    return [name for path in paths for name in kaldiio.load_scp(str(path))]


def test_the_totals_are_told_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--wav-scp", voices(tmp_path), "--output-directory", str(tmp_path / "out")]
    assert run(["extract", *arguments, "--jobs", "3"]) == 0
    told = capsys.readouterr()
    count, seconds = len(VOICE_FILES), sum(soundfile.info(f).duration for f in VOICE_FILES)
    assert told.out.startswith(
        f"EXTRACTED  {count} of {count} recordings  {seconds:.1f} s of audio in "
    )
    assert "RTF 0." in told.out
    assert f"{tmp_path}/out/xvector_000.scp ... 3 pairs\n" in told.out
    assert told.err == ""
    assert ids(tmp_path / "out") == [f"0-{path.stem}" for path in VOICE_FILES]
    assert run(["extract", *arguments]) == 2
    assert "holds finished output (xvector_000.ark, ...)" in capsys.readouterr().err
    assert run(["extract", *arguments, "--overwrite", "--jobs", "1"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_the_totals_are_told_to_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = wav_scp(tmp_path, slt="slt-call.flac", gone="gone.wav")
    arguments = ["--wav-scp", listed, "--data-dir", str(VOICES), "--model", "campplus"]
    folder = tmp_path / "out"
    assert run(["extract", *arguments, "--output-directory", str(folder), "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    (failure,) = facts.pop("failures")
    assert failure.pop("message").endswith("gone.wav: No such file or directory")
    path = str(VOICES / "gone.wav")
    assert failure == {"recording_id": "gone", "path": path, "reason": "AudioFileError"}
    assert (facts["listed"], facts["extracted"], facts["resumed"]) == (2, 1, 0)
    assert facts["audio_s"] == pytest.approx(soundfile.info(VOICES / "slt-call.flac").duration)
    assert facts["rtf"] == pytest.approx(facts["wall_s"] / facts["audio_s"])
    assert facts["model"]["name"] == "campplus"
    assert facts["lists"] == [str(folder / "xvector_000.scp"), str(folder / "xvector_001.scp")]
    assert ids(folder) == ["slt"]


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Make every kind of recording that is refused; give what is said of it."""
    speech = noise(2.0)
    signals = {
        "short": (speech[:399], "AUDIO_TOO_SHORT"),
        "nothing": (speech[:0], "NO_AUDIO"),
        "silent": (0 * speech, "AUDIO_WITHOUT_VOICE"),
        "stereo": (np.stack([speech, speech], 1), "2 channels; choose one"),
        "long": (np.zeros(601 * RATE_HZ, np.float32), "601.0 s; at most 600 s"),
    }
    found = {}
    for name, (signal_, words) in signals.items():
        found[name] = folder / f"{name}.wav", words
        soundfile.write(found[name][0], signal_, RATE_HZ)
    cut, text, empty = folder / "cut.wav", folder / "text.wav", folder / "empty.wav"
    soundfile.write(cut, speech, RATE_HZ)
    cut.write_bytes(cut.read_bytes()[:-1001])
    text.write_text("hello")
    empty.touch()
    return found | {
        "cut": (cut, "the file was cut"),
        "text": (text, "not an audio file"),
        "empty": (empty, "the file is empty"),
        "folder": (folder, "no plain file"),
        "missing": (folder / "missing.wav", "No such file"),
    }


def test_bad_recordings_are_named_and_the_others_extracted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_files(tmp_path)
    files = {"first": VOICE_FILES[0]} | {name: path for name, (path, _) in bad.items()}
    listed = wav_scp(tmp_path, **files, last=VOICE_FILES[1])
    folder = tmp_path / "out"
    arguments = ["--wav-scp", listed, "--output-directory", str(folder), "--jobs", "2"]
    assert run(["extract", *arguments]) == 1
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == len(bad)
    for name, (path, words) in bad.items():
        (line,) = [each for each in lines if each.startswith(f"speakerctl: {name}: {path}: ")]
        assert words in line
        assert f"{path}: {path}" not in line
    assert f"EXTRACTED  2 of {len(bad) + 2} recordings" in told.out
    assert ids(folder) == ["first", "last"]
    assert not (folder / JOURNAL_NAME).exists()


def test_a_channel_may_be_chosen_and_nothing_at_all_is_written_for_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "two.wav", tmp_path / "out"
    left, right = noise(2.0, 1), noise(2.0, 2)
    soundfile.write(path, np.stack([left, right], 1), RATE_HZ)
    soundfile.write(tmp_path / "one.wav", right, RATE_HZ)
    listed = wav_scp(tmp_path, two=path)
    arguments = ["extract", "--wav-scp", listed, "--output-directory", str(folder)]
    assert run(arguments) == 1
    assert list(folder.iterdir()) == []
    assert "EXTRACTED  0 of 1 recordings" in capsys.readouterr().out
    assert run([*arguments, "--channel", "1"]) == 0
    alone = ["extract", "--audio-file", "one.wav", "--data-dir", str(tmp_path)]
    assert run([*alone, "--output-directory", str(tmp_path / "alone")]) == 0
    (two,) = kaldiio.load_scp(str(folder / "xvector_000.scp")).values()
    ((name, one),) = kaldiio.load_scp(str(tmp_path / "alone" / "xvector_000.scp")).items()
    assert name == "one.wav"
    assert np.allclose(one, two, atol=1e-4)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "wav.scp: it is empty"),
        ("a a.wav\nb\n", "wav.scp, line 2: it has 1 field,"),
        ("a a b.wav\n", "wav.scp, line 1: it has 3 fields,"),
        ("a a.wav\na b.wav\n", "wav.scp, line 2: the id a stands in line 1 already"),
        ("a cat a.wav |\n", "wav.scp, line 1: cat a.wav | is a command"),
        (None, "wav.scp: it cannot be read (No such file or directory)"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "wav.scp").write_text(content)
    arguments = ["--wav-scp", str(tmp_path / "wav.scp"), "--address", "127.0.0.1:1"]
    assert run(["extract", *arguments, "--output-directory", str(tmp_path / "out")]) == 2
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--output-directory", "{list}"], 2, "File exists"),
        (["--output-directory", "{list}/below"], 2, "Not a directory"),
        (["--output-directory", "{out}", "--address", "127.0.0.1:1"], 3, "no daemon answers"),
        (["--output-directory", "{out}", "--model", "none"], 3, "MODEL_UNKNOWN"),
        (["--output-directory", "{out}", "--samples-per-chunk", "5"], 3, "SAMPLES_PER_CHUNK_"),
        (["--output-directory", "{out}", "--samples-per-chunk", "99999999999"], 3, "cannot be"),
        (["--output-directory", "{out}", "--audio-file", "a.wav"], 3, "either --wav-scp or"),
        (["--output-directory", "{out}", "--jobs", "0"], 3, "--jobs"),
        ([], 3, "--output-directory"),
    ],
)
def test_what_stops_it_is_one_line_and_leaves_no_output(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    listed, out = voices(tmp_path), tmp_path / "out"
    given = [argument.format(list=listed, out=out) for argument in arguments]
    assert run(["extract", "--wav-scp", listed, *given]) == code
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""
    assert not out.exists() or list(out.iterdir()) == []


def test_neither_list_nor_file_and_a_name_with_blanks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output-directory", str(tmp_path / "out")]
    assert run(["extract", *output]) == 3
    assert "either --wav-scp or --audio-file" in capsys.readouterr().err
    assert run(["extract", *output, "--audio-file", "my call.wav"]) == 2
    assert "give a list with an id of its own" in capsys.readouterr().err


def until_some_are_kept(folder: Path, process: subprocess.Popen[str]) -> None:
    deadline_s = time.monotonic() + 15
    journal = folder / JOURNAL_NAME
    while not journal.exists() or journal.stat().st_size < 3000:
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ended_in_the_middle_the_same_command_goes_on(
    tmp_path: Path, ending: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    listed, folder = voices(tmp_path, times=12), tmp_path / "out"
    arguments = ["--wav-scp", listed, "--output-directory", str(folder), "--jobs", "2"]
    process = started(*arguments)
    until_some_are_kept(folder, process)
    process.send_signal(ending)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == (130 if ending is signal.SIGINT else -ending)
    assert out == ""
    if ending is signal.SIGINT:
        first, second = errors.splitlines()
        assert "recordings are done and kept; the same command goes on from there" in first
        assert second == "speakerctl: interrupted"
    assert [path.name for path in folder.iterdir()] == [JOURNAL_NAME]
    assert run(["extract", *arguments, "--channel", "0"]) == 2
    assert "an unfinished extraction with another channel;" in capsys.readouterr().err
    assert run(["extract", *arguments, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert 3 <= facts["resumed"] < facts["extracted"] == facts["listed"] == 12 * len(VOICE_FILES)
    assert ids(folder) == [f"{n}-{path.stem}" for n in range(12) for path in VOICE_FILES]
    assert len(list(folder.iterdir())) == 4


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    listed, folder = voices(tmp_path, times=2), tmp_path / "out"
    process = started("--wav-scp", listed, "--output-directory", str(folder), stderr=follower)
    drawn = b""
    os.close(follower)
    while True:
        try:
            drawn += os.read(leader, 65536)
        except OSError:  # the other side has gone
            break
    os.close(leader)
    out, _ = process.communicate(timeout=15)
    assert process.returncode == 0
    assert b"extracting" in drawn
    assert b"%" in drawn
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2
