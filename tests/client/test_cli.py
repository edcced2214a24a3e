"""speakerctl: what it prints, where, and how it exits."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from speakerd_client import Client, read_audio
from speakerd_client.cli import live, render
from speakerd_client.cli.app import app, run
from support.daemon import Daemon
from support.speech import VOICES
from typer.testing import CliRunner

CALL = str(VOICES / "slt-call.flac")
ENROL = str(VOICES / "slt-enrol.flac")
STRANGER = str(VOICES / "kal16-call.flac")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of its own: rankings must not depend on what other tests enrol."""
    folder = tmp_path_factory.mktemp("cli")
    with Daemon(folder, "--calls-domains=default,other,empty") as running:
        yield running


@pytest.fixture(autouse=True)
def address(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    return daemon.address


@pytest.fixture(scope="module")
def enrolled(daemon: Daemon) -> str:
    with Client(daemon.address) as client:
        client.enroll("cli-slt", read_audio(ENROL), domain="other")
    return "cli-slt"


def speakerctl(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "speakerd_client", *arguments], input=stdin, capture_output=True
    )


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_life_of_a_speaker_from_enrolment_to_deletion(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["enroll", "cli-life", ENROL, CALL, "--name", "Slt"]) == 0
    assert capsys.readouterr().out.count("ENROLLED  cli-life") == 2
    assert run(["verify", "cli-life", CALL]) == 0
    assert capsys.readouterr().out.startswith("ACCEPT  cli-life  cosine 0.")
    assert run(["speakers", "list", "--json"]) == 0
    assert "cli-life" in [each["speaker_id"] for each in lines_of(capsys.readouterr().out)]
    assert run(["speakers", "show", "cli-life"]) == 0
    shown = capsys.readouterr().out
    assert "Slt" in shown
    # The time of last use is noted beside the call, a moment later.
    assert len([line for line in shown.splitlines() if "last used" not in line]) == 11
    assert run(["speakers", "delete", "cli-life", "--yes", "--json"]) == 0
    assert lines_of(capsys.readouterr().out) == [{"speaker_id": "cli-life", "recordings_erased": 2}]
    assert run(["speakers", "show", "cli-life"]) == 3
    assert "SPEAKER_UNKNOWN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["cli-slt", CALL], 0, "ACCEPT"),
        (["cli-slt", STRANGER], 1, "REJECT"),
        (["cli-slt", CALL, "--accept-at", "0.99"], 1, "REJECT"),
        (["cli-slt", CALL, "--scale", "similarity", "--accept-at", "0.6"], 0, "similarity 0.9"),
        (["cli-slt", CALL, "--scale", "llr"], 0, "ACCEPT  cli-slt  llr "),
        (["cli-slt", STRANGER, "--scale", "asnorm"], 1, "(accept at 3.500)"),
        (["cli-slt", CALL, "--gate", "--sequential", "0.01,0.05"], 0, "that stays"),
        (["cli-slt", STRANGER, "--gate", "--sequential", "0.01,0.05"], 1, "that stays"),
        (["cli-slt", CALL, "--minimum-speech", "60"], 2, "NOT_ENOUGH_SPEECH"),
        (["cli-nobody", CALL], 2, "SPEAKER_NOT_ENROLLED"),
    ],
)
def test_verify_exits_by_its_decision(
    enrolled: str,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    word: str,
) -> None:
    assert run(["verify", *arguments, "--domain", "other"]) == code
    told = capsys.readouterr()
    assert word in told.out
    assert len(told.out.splitlines()) == 2 + (arguments[0] == "cli-slt")
    assert ("(calibration wide-wide)" in told.out) == (arguments[0] == "cli-slt")
    assert told.err == ""


def test_json_gives_one_line_per_update_and_the_final(enrolled: str) -> None:
    options = ["--domain", "other", "--json", "--samples-per-chunk", "16000"]
    done = speakerctl("verify", enrolled, CALL, *options)
    results = lines_of(done.stdout.decode())
    assert done.returncode == 0
    assert [each["is_final"] for each in results] == [False] * 5 + [True]
    assert results[-1]["decision"] == "accept"
    assert results[-1]["scores"][0]["scale"] == "cosine"
    assert done.stderr == b""


def test_raw_audio_comes_by_standard_input(enrolled: str) -> None:
    audio = read_audio(CALL)
    whole = speakerctl("verify", enrolled, CALL, "--domain", "other", "--json")
    piped = speakerctl("verify", enrolled, "-", "--domain", "other", "--json", stdin=audio.content)
    last = [lines_of(done.stdout.decode())[-1] for done in (whole, piped)]
    assert last[0]["scores"][0]["score"] == pytest.approx(last[1]["scores"][0]["score"], abs=1e-6)
    assert piped.returncode == 0
    odd = speakerctl("verify", enrolled, "-", "--domain", "other", stdin=audio.content[:-1])
    assert odd.returncode == 3
    assert b"AUDIO_INCOMPLETE_SAMPLE" in odd.stderr
    assert b"Traceback" not in odd.stderr


def test_realtime_takes_as_long_as_the_audio(enrolled: str, tmp_path: Path) -> None:
    audio = read_audio(CALL)
    seconds = 2
    short = tmp_path / "short.wav"
    with wave.open(str(short), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(audio.content[: seconds * audio.format.bytes_per_second])
    script = "import sys, time; from speakerd_client.cli.app import run; t = time.monotonic(); "
    script += "run(sys.argv[1:]); print(time.monotonic() - t)"
    arguments = ["verify", enrolled, str(short), "--domain", "other", "--realtime"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True)
    assert float(done.stdout.splitlines()[-1]) >= seconds - 0.01


def test_identify_ranks_and_exits_by_the_best(
    enrolled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["identify", CALL, "--domain", "other", "--top", "3"]) == 0
    assert "1.  cli-slt  0." in capsys.readouterr().out
    assert run(["identify", CALL, "--domain", "other", "--minimum-margin", "-1"]) == 3
    assert "policy.minimum_margin" in capsys.readouterr().err
    assert run(["identify", STRANGER, "--domain", "other", "--json"]) == 1
    (result,) = lines_of(capsys.readouterr().out)
    assert result["decision"] == "reject"
    assert run(["identify", CALL, "--domain", "empty"]) == 2
    assert "nobody is enrolled" in capsys.readouterr().out


def test_refused_files_are_named_and_the_others_enrolled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert run(["enroll", "cli-some", str(text), ENROL, str(tmp_path / "none.wav")]) == 3
    told = capsys.readouterr()
    assert told.out.count("ENROLLED") == 1
    assert "notes.txt: not an audio file" in told.err
    assert "none.wav: No such file" in told.err
    assert run(["speakers", "delete", "cli-some", "--yes"]) == 0


def test_two_people_under_one_id_are_refused_or_forced(capsys: pytest.CaptureFixture[str]) -> None:
    other = str(VOICES / "awb-enrol.flac")
    assert run(["enroll", "cli-two", ENROL, other]) == 3
    assert "DIFFERENT_SPEAKER" in capsys.readouterr().err
    assert run(["enroll", "cli-two", other, "--force"]) == 0
    assert "warning" in capsys.readouterr().err


def test_a_voice_under_another_id_is_told_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enroll", "cli-two-again", ENROL]) == 0
    capsys.readouterr()
    assert run(["enroll", "cli-twice", ENROL, "--check-duplicates"]) == 0
    assert "cli-two-again has this voice as well" in capsys.readouterr().err
    for speaker in ("cli-two-again", "cli-twice"):
        assert run(["speakers", "delete", speaker, "--yes"]) == 0
    assert run(["speakers", "delete", "cli-two", "--yes"]) == 0


def test_delete_asks_and_takes_no_for_an_answer(
    enrolled: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speakerctl("speakers", "delete", enrolled, "--domain", "other").returncode == 3
    leader, follower = pty.openpty()
    os.write(leader, b"n\n")
    done = subprocess.run(
        [sys.executable, "-m", "speakerd_client", "speakers", "delete", enrolled, "--domain=other"],
        stdin=follower,
        capture_output=True,
    )
    os.close(leader)
    os.close(follower)
    assert done.returncode == 1
    assert b"Erase the voiceprint" in done.stderr
    assert run(["speakers", "show", enrolled, "--domain", "other"]) == 0


def test_status_tells_people_and_scripts(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    assert f"{address}  SERVING" in capsys.readouterr().out
    assert run(["status", "--json"]) == 0
    (facts,) = lines_of(capsys.readouterr().out)
    assert facts["health"] == "serving"
    assert facts["models"][0]["is_default"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--address", "127.0.0.1:1"],
        ["verify", "a", "/nothing.wav"],
        ["verify", "a", CALL, "--samples-per-chunk", "99999999999"],
        ["verify", "a", CALL, "--accept-at", "7"],
        ["verify", "a", CALL, "--sequential", "0.01"],
        ["verify", "a", CALL, "--sequential", "a,b"],
        ["verify", "a", CALL, "--gate", "--sequential", "0.3,0.3"],
        ["verify", "a", CALL, "--sequential", "0.01,0.05", "--accept-at", "0.5"],
        ["verify", "a", CALL, "--domain", "nowhere"],
        ["verify", "a", CALL, "--scale", "wrong"],
        ["verify", "a/b", CALL],
        ["verify"],
    ],
)
def test_errors_are_one_line_and_exit_with_three(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("speakerctl: ")
    assert told.err.count("\n") == 1


def test_a_reader_that_leaves_early_gets_no_traceback(enrolled: str) -> None:
    command = f"{sys.executable} -m speakerd_client verify {enrolled} {CALL} --domain other --json"
    done = subprocess.run(["sh", "-c", f"{command} | head -c 1"], capture_output=True)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_help_states_the_exit_codes_and_the_address_variable() -> None:
    runner = CliRunner()
    top = " ".join(runner.invoke(app, ["--help"]).output.split())
    assert "0 accept, 1 reject, 2 no answer" in top
    verify = runner.invoke(app, ["verify", "--help"]).output
    assert "SPEAKERD_ADDRESS" in verify
    assert "0 accept, 1 reject, 2 no answer, 3 error" in verify
    assert run([]) == 3


def test_the_live_view_shows_score_decision_and_speech(enrolled: str, address: str) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    audio = read_audio(CALL)
    with Client(address) as client:
        updates = client.verify_stream(
            enrolled, audio.pieces(), audio.format, domain="other", samples_per_chunk=16000
        )
        final = live.follow(updates, enrolled, console, in_json=False)
    drawn = screen.getvalue()
    for word in ("cli-slt", "ACCEPT", "NOT_ENOUGH_SPEECH", "accept at 0.", "s received", "▆"):
        assert word in drawn
    assert final.is_final


def test_a_sparkline_stays_in_its_bounds() -> None:
    assert render.sparkline([-5.0, 0.0, 0.5, 1.0, 5.0], 0.0, 1.0) == "▁▁▅██"
    assert render.sparkline([], 0.0, 1.0) == ""
    assert render.sparkline([3.0], 3.0, 3.0) == "▁"
