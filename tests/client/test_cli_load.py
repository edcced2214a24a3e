"""speakerctl load: what it prints, what it draws, what it refuses, and how it exits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import soundfile
from speakerd_client import Client, read_audio
from speakerd_client.cli.app import app, run
from speakerd_client.load import capacity
from support.daemon import Daemon
from support.light import PLACES
from support.papers import text_of
from support.shared import ROOT
from support.speech import RATE_HZ, VOICES, noise
from typer.main import get_command

CALL = str(VOICES / "slt-call.flac")
README = ROOT / "client" / "README.md"
SHORT = ["--samples-per-chunk", "8000"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def address(light: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", light.address)
    monkeypatch.setattr(capacity, "_PAUSE_S", 0.05)
    return light.address


def test_a_live_load_is_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--streams", "3", "--seconds", "1", "--encoding", "mulaw", "--rate", "8000"]
    assert run(["load", CALL, *arguments, *SHORT]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    lines = [line.strip() for line in told.out.splitlines()]
    assert lines[0] == "LIVE LOAD  3 streams of 1 s"
    assert lines[1] == (
        f"{CALL} as mulaw 8000 Hz in messages of 100 ms, 1 connection; campplus/1, window 0.48 s,"
        " no target"
    )
    rows = {line.split("  ")[0].strip(): line.split() for line in lines if re.search(r"\d$", line)}
    assert rows["decision lag"][2] == "6"
    assert float(rows["decision lag"][-1]) > 0
    assert rows["connect"][1] == rows["finish"][1] == "3"
    assert "streams    3 asked, 3 opened, 3 finished, 0 failed" in lines
    assert "windows    6 of 6 answered" in lines
    assert "decisions  3 SPEAKER_NOT_PROVIDED" in lines
    assert re.search(r"^generator  0\.\d\d of a core \(1 process\)$", told.out, re.MULTILINE)


def test_failed_streams_are_named_and_make_the_exit_1(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--streams", str(PLACES + 2), "--seconds", "1", "--processes", "2"]
    assert run(["load", *arguments, *SHORT]) == 1
    told = capsys.readouterr().out
    row = next(line.split() for line in told.splitlines() if "TOO_MANY_STREAMS" in line)
    assert row[1:4] == ["2", "25.0", "%"]
    assert f"{PLACES + 2} asked, {PLACES} opened, {PLACES} finished, 2 failed" in told
    assert "of a core (2 processes)" in told


def keys_of(value: Any, prefix: str = "") -> set[str]:
    """Name every key of nested objects, of the first of a list for all."""
    if isinstance(value, list):
        return keys_of(value[0], prefix) if value else set()
    if not isinstance(value, dict):
        return set()
    found = set()
    for name, each in value.items():
        found |= {name} | keys_of(each)
    return found


def documented() -> set[str]:
    """Name every key in the README's section on the JSON line."""
    _, _, after = text_of(README).partition("### The line of JSON")
    section = after.split("\n## ")[0].split("\n### ")[0]
    return set(re.findall(r"`(\w+)`", section))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--streams", "7", "--seconds", "1", *SHORT],
        ["--closed-loop", "embed", "--concurrency", "1,2", "--seconds", "0.5"],
        ["--find-capacity", "--streams", "7", "--seconds", "2", "--settle", "0.5", *SHORT],
    ],
    ids=["live", "closed", "capacity"],
)
@pytest.mark.timeout(60)
def test_json_is_one_line_whose_keys_are_documented(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    run(["load", *arguments, "--json"])
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.count("\n") == 1
    facts = json.loads(told.out)
    assert facts["mode"] in {"live", "closed_loop", "find_capacity"}
    decisions = set(facts.get("decisions", {}))
    assert keys_of(facts) - decisions - documented() == set()


def test_every_option_is_in_the_readme() -> None:
    command = get_command(app).commands["load"]  # type: ignore[attr-defined]
    names = {name for parameter in command.params for name in parameter.opts if name[:2] == "--"}
    assert len(names) > 20
    section = text_of(README).partition("## Load\n")[2].split("\n## ")[0]
    assert [name for name in sorted(names) if f"`{name}" not in section] == []


def test_a_closed_loop_is_told_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--closed-loop", "verify", "--concurrency", "1,3", "--seconds", "0.6"]
    assert run(["load", CALL, *arguments]) == 0
    told = capsys.readouterr().out
    assert told.startswith("CLOSED LOOP  verify, 0.6 s each, 0 s not counted\n")
    rows = [line.split() for line in told.splitlines() if re.match(r"\W*\d", line)]
    assert [row[0] for row in rows] == ["1", "3"]
    assert all(float(row[1]) > 0 for row in rows)


def test_calls_that_fail_make_the_exit_1(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, 0 * noise(1.0), RATE_HZ)
    arguments = [CALL, str(silent), "--closed-loop", "embed", "--seconds", "0.5"]
    assert run(["load", *arguments]) == 1
    assert "AUDIO_WITHOUT_VOICE" in capsys.readouterr().out


@pytest.mark.timeout(60)
def test_a_search_tells_every_step_and_draws_them(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "capacity.png"
    arguments = ["--find-capacity", "--streams", "7", "--seconds", "2", "--settle", "0.5"]
    limits = ["--lag-ms", "5000", "--resolution", "20%", "--plot", str(picture)]
    assert run(["load", *arguments, *limits, *SHORT]) == 0
    told = capsys.readouterr().out
    assert told.startswith("SEARCH  up to 7 streams within a p99 decision lag of 5000 ms")
    assert f"CAPACITY  {PLACES} streams, to 20 %, confirmed" in told
    rows = [line for line in told.splitlines() if re.match(r"\W*\d", line)]
    assert "grow" in rows[0]
    assert "no: streams failed: TOO_MANY_STREAMS 1" in rows[0]
    assert "grow again" in rows[1]
    assert re.search(r"confirm .* yes", rows[-1])
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.timeout(60)
def test_a_search_that_finds_nothing_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--find-capacity", "--streams", "1", "--seconds", "1", "--lag-ms", "1"]
    assert run(["load", *arguments, "--settle", "0", *SHORT, "--message-ms", "250"]) == 1
    assert "CAPACITY  0 streams" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["--streams", "2", "--seconds", "1", *SHORT],
        ["--streams", "1", "--seconds", "0.2"],
        ["--closed-loop", "embed", "--seconds", "0.3"],
    ],
    ids=["live", "live without a window", "closed"],
)
def test_a_load_is_drawn(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str]
) -> None:
    picture = tmp_path / "load.png"
    assert run(["load", *arguments, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(PNG)
    assert picture.stat().st_size > 5_000
    assert capsys.readouterr().err == ""


def test_a_claim_is_decided(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    with Client(daemon.address) as client:
        client.enroll("cli-load-slt", read_audio(VOICES / "slt-enrol.flac"))
        arguments = ["--speaker", "cli-load-slt", "--address", daemon.address, "--json"]
        code = run(["load", CALL, "--streams", "2", "--seconds", "3", *arguments])
        client.delete_speaker("cli-load-slt")
    facts = json.loads(capsys.readouterr().out)
    assert code == 0
    assert facts["decisions"] == {"accept": 2}
    assert facts["time_to_decision_ms"]["count"] == 2
    assert facts["settings"]["speaker_id"] == "cli-load-slt"
