"""speakerctl keeps to its exit codes and to one line, whatever it meets."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import wave
from pathlib import Path
from typing import Any

import pytest
from speakerd.v1 import audio_pb2
from speakerd.v1 import verification_pb2 as v1
from speakerd_client import Client, read_audio
from speakerd_client.cli import app as cli
from speakerd_client.cli import render, sound
from support.daemon import Daemon
from support.scripted import OPENED, Answers, Requests, scripted
from support.speech import VOICES

CALL = str(VOICES / "slt-call.flac")
ENROL = VOICES / "slt-enrol.flac"


@pytest.fixture(autouse=True)
def address(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    return daemon.address


def speakerctl(
    *arguments: str, stdin: bytes = b"", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "speakerd_client", *arguments],
        input=stdin,
        capture_output=True,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        (">&-", "speakerctl: the answer cannot be written: standard output is closed\n"),
        (">/dev/full", "speakerctl: the answer cannot be written: No space left on device\n"),
    ],
)
def test_an_answer_that_finds_no_place_is_an_error_and_told(redirected: str, said: str) -> None:
    command = f'"{sys.executable}" -m speakerd_client models {redirected}'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, said)


def test_an_error_that_cannot_be_told_is_no_rejection() -> None:
    command = f'"{sys.executable}" -m speakerd_client verify nobody /no/such/file 2>&-'
    assert subprocess.run(command, shell=True, stdout=subprocess.DEVNULL).returncode == 3


def test_what_nobody_foresaw_is_one_line_and_never_a_rejection(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("first\nsecond")

    monkeypatch.setattr(sound, "read_audio", broken)
    assert cli.run(["verify", "a", CALL]) == 3
    told = capsys.readouterr().err
    assert told == (
        "speakerctl: unforeseen failure, please report it: ZeroDivisionError: first second\n"
    )


def test_a_name_that_the_terminal_cannot_show_is_escaped(address: str) -> None:
    with Client(address) as client:
        client.enroll("edge-name", read_audio(ENROL), display_name="Zoë Ł")
        plain = speakerctl("speakers", "list", PYTHONIOENCODING="ascii")
        lines = speakerctl("speakers", "list", "--json", PYTHONIOENCODING="ascii")
        client.delete_speaker("edge-name")
    assert (plain.returncode, lines.returncode) == (0, 0)
    assert rb"Zo\xeb \u0141" in plain.stdout
    assert rb'"display_name": "Zo\u00eb \u0141"' in lines.stdout


def test_control_characters_never_reach_the_terminal() -> None:
    (line,) = render.columns([("a", "\x1b[2Jgone\n\u202e")])
    assert line == r"a  \x1b[2Jgone\n\u202e"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify", "a", CALL, "--rate", "8000"], "--rate would do nothing"),
        (["verify", "a", CALL, "--encoding", "mulaw", "--rate", "1"], "--encoding and --rate"),
        (["verify", "a", CALL, "--raw-channels", "2"], "--raw-channels would do nothing"),
        (["verify", "a", "-", "--channel", "1"], "or set --raw-channels 2"),
        (["verify", "a", "-", "--raw-channels", "2"], "must be 0 or 1"),
        (["status", "--address", ""], "host:port"),
        (["status", "--address", "localhost"], "host:port"),
    ],
)
def test_options_without_effect_are_refused(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 3
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("file", ["call.wav", "call.flac"])
def test_a_file_on_standard_input_is_refused_with_advice(tmp_path: Path, file: str) -> None:
    path = VOICES / "slt-call.flac"
    if file.endswith("wav"):
        path = tmp_path / file
        with wave.open(str(path), "wb") as target:
            target.setparams((1, 2, 16000, 0, "NONE", ""))
            target.writeframes(bytes(32000))
    done = speakerctl("verify", "a", "-", stdin=path.read_bytes())
    assert done.returncode == 3
    assert b"give the file's name instead" in done.stderr


def test_standard_input_is_paced_when_asked() -> None:
    script = "import sys, time; from speakerd_client.cli.app import run; t = time.monotonic(); "
    script += "run(sys.argv[1:]); print(time.monotonic() - t)"
    command = [sys.executable, "-c", script, "verify", "a", "-", "--realtime"]
    done = subprocess.run(command, input=bytes(32000), capture_output=True)
    assert float(done.stdout.splitlines()[-1]) >= 0.99


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("speakerctl 0.")


def test_the_help_names_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "0 accept, 1 reject, 2 no answer (undecided, not enough speech, not enrolled" in told
    assert "3 error, with the reason on standard error, 130 interrupted" in told


@pytest.mark.timeout(60)
def test_a_recording_too_large_for_one_message_is_streamed_and_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as target:
        target.setparams((1, 2, 48000, 0, "NONE", ""))
        target.writeframes(bytes(2 * 48000 * 720))  # 12 minutes, 69 MB
    raw = tmp_path / "sound.raw"
    raw.write_bytes(bytes(100))
    assert cli.run(["enroll", "edge-long", str(long), str(raw), str(ENROL)]) == 3
    told = capsys.readouterr()
    assert told.out.count("ENROLLED") == 1
    first, second = told.err.splitlines()
    assert f"{long}: " in first
    assert "AUDIO_TOO_LONG" in first
    assert f"{raw}: not an audio file" in second
    assert cli.run(["speakers", "delete", "edge-long", "--yes"]) == 0


@pytest.mark.parametrize("decision", sorted(audio_pb2.Decision.values()))
async def test_verify_exits_by_every_decision(decision: audio_pb2.Decision.ValueType) -> None:
    async def script(requests: Requests, context: Any) -> Answers:
        yield OPENED
        yield v1.StreamVerifyResponse(final=v1.VerificationResult(decision=decision))

    codes = {audio_pb2.DECISION_ACCEPT: 0, audio_pb2.DECISION_REJECT: 1}
    async with scripted(script) as scripted_address:
        arguments = ["verify", "a", CALL, "--address", scripted_address]
        assert await asyncio.to_thread(cli.run, arguments) == codes.get(decision, 2)


@pytest.mark.parametrize("when", ["yesterday", "9999-12-31T23:59"])
def test_a_consent_that_is_no_time_is_refused(
    when: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert cli.run(["enroll", "never", str(ENROL), "--consent", when]) == 3
    finally:
        monkeypatch.undo()
        time.tzset()
    assert "is no time such as" in capsys.readouterr().err
