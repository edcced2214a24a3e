"""speakerctl sessions: live calls on a terminal, in a pipe and as lines of JSON."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from speakerd_client import Client, Decision, LiveSession, LiveSessions, read_audio
from speakerd_client.cli import sessions
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import VOICES

CALL = read_audio(VOICES / "slt-call.flac")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def address(light: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", light.address)
    return light.address


@pytest.fixture
def call(address: str) -> Iterator[str]:
    """One live call, with a window answered, for as long as the test runs."""
    with (
        Client(address) as client,
        client.stream_verify(["alice", "bob"], CALL.format, samples_per_chunk=16000) as call,
    ):
        call.send(CALL.content)
        next(call)
        yield call.request_id


def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "speakerd_client", "sessions", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, text=True, env=os.environ | {"COLUMNS": "200"}, **options)


def session(number: int, **changes: Any) -> LiveSession:
    facts: dict[str, Any] = {
        "request_id": f"call-{number}",
        "rpc": "StreamVerify",
        "domain": "default",
        "model": "campplus/1",
        "speaker_ids": ("alice",),
        "whole_domain": False,
        "group": "",
        "worker": 0,
        "started": NOW - timedelta(seconds=7),
        "audio_received_s": 6.5,
        "net_speech_s": 6.0,
        "window_count": 3,
        "decision": Decision.ACCEPT,
    }
    return LiveSession(**facts | changes)


def lines_of(moment: LiveSessions, *, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    lines = console.render_lines(sessions.drawn(moment, height), pad=False)
    return ["".join(segment.text for segment in line) for line in lines]


def test_a_pipe_gets_one_table_and_the_end(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sessions"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["CALL", "KIND", "DOMAIN"]
    cells = row.split()
    assert cells[:6] == [call, "Verify", "default", "campplus/1", "alice,", "bob"]
    assert cells[-1] == "SPEAKER_NOT_ENROLLED"
    assert run(["sessions", "--domain", "default", "--once"]) == 0
    assert call in capsys.readouterr().out


def test_json_gives_one_line_for_each_moment_until_ctrl_c(call: str) -> None:
    process = started("--json", "--interval", "0.1")
    assert process.stdout is not None
    moments = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "speakerctl: interrupted\n")
    assert moments[0]["time"] < moments[1]["time"] < moments[2]["time"]
    for moment in moments:
        (one,) = moment["sessions"]
        assert (one["request_id"], one["rpc"]) == (call, "StreamVerify")
        assert one["speaker_ids"] == ["alice", "bob"]
        assert one["decision"] == "speaker_not_enrolled"
        assert one["window_count"] >= 1


def test_json_of_one_moment_is_one_line(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sessions", "--json", "--once"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert [each["request_id"] for each in json.loads(line)["sessions"]] == [call]


def test_a_terminal_shows_calls_until_ctrl_c_and_nothing_is_left(call: str) -> None:
    leader, follower = pty.openpty()
    process = started("--interval", "0.1", stdout=follower)
    os.close(follower)
    screen = b""
    while screen.count(call.encode()) < 2:
        screen += os.read(leader, 65536)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            screen += os.read(leader, 65536)
        except OSError:  # the other side has gone
            break
    os.close(leader)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, "speakerctl: interrupted\n")
    assert b"1 live call  " in screen
    assert b"SPEAKER_NOT_ENROLLED" in screen
    shown, _, after = screen.rpartition(call.encode())
    assert b"\x1b[?25l" in shown
    assert b"\x1b[?25h" in after
    assert b"\x1b[2K" in after


def test_a_reader_that_leaves_early_ends_it_without_a_word(address: str) -> None:
    command = f"{sys.executable} -m speakerd_client sessions --json --interval 0.1"
    done = subprocess.run(["sh", "-c", f"{command} | head -n 1"], capture_output=True, timeout=15)
    assert json.loads(done.stdout)["sessions"] == []
    assert done.stderr == b""


def test_a_daemon_that_is_killed_ends_it_by_name(tmp_path: Path) -> None:
    with Daemon(tmp_path) as dying:
        process = started("--json", "--interval", "0.1", "--address", dying.address)
        assert process.stdout is not None
        process.stdout.readline()
        dying.kill()
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 3
    assert f"the connection to the daemon at {dying.address} was lost" in errors
    assert "[CONNECTION_LOST]" in errors
    assert errors.count("\n") == 1


def test_more_calls_than_lines_are_counted() -> None:
    lines = lines_of(LiveSessions(NOW, tuple(map(session, range(50)))), width=120, height=10)
    assert len(lines) == 9
    assert lines[0].startswith("50 live calls  ")
    assert [line.split()[0] for line in lines[2:8]] == [f"call-{number}" for number in range(6)]
    assert lines[-1] == "and 44 more"
    assert len(lines_of(LiveSessions(NOW, (session(0),)), width=120, height=10)) == 3
    assert len(lines_of(LiveSessions(NOW, ()), width=120)) == 2


@pytest.mark.parametrize("width", [40, 80, 200])
def test_every_call_has_one_line_however_narrow_the_terminal(width: int) -> None:
    long = session(0, request_id="c" * 100, speaker_ids=("s" * 64, "t" * 64))
    lines = lines_of(LiveSessions(NOW, (long, session(1))), width=width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width


def test_numbers_stay_whole_on_eighty_columns() -> None:
    call = session(0, request_id="c" * 32, decision=Decision.SPEAKER_NOT_ENROLLED, worker=3)
    _, _, line = lines_of(LiveSessions(NOW, (call,)), width=80)
    assert " 3      7 s   6.5 s 6.0 s  3 " in line


def test_what_could_move_the_cursor_is_escaped() -> None:
    moment = LiveSessions(NOW, (session(0, speaker_ids=("\x1b[2Jbob", "[red]x")),))
    text = "\n".join(lines_of(moment, width=200))
    assert r"\x1b[2Jbob, [red]x" in text
    assert "\x1b[2J" not in text


def test_calls_without_a_decision_and_of_whole_domains_are_told_apart() -> None:
    enrolling = session(0, decision=None, rpc="StreamEnroll", speaker_ids=("bob",))
    anyone = session(1, speaker_ids=(), whole_domain=True)
    nobody = session(2, speaker_ids=())
    member = session(3, speaker_ids=(), group="fraud")
    _, _, *rows = lines_of(LiveSessions(NOW, (enrolling, anyone, nobody, member)), width=200)
    cells = [(row.split()[1], row.split()[4], row.split()[-1]) for row in rows]
    assert cells == [
        ("Enroll", "bob", "-"),
        ("Verify", "anyone", "ACCEPT"),
        ("Verify", "-", "ACCEPT"),
        ("Verify", "of", "ACCEPT"),
    ]
    assert "of fraud" in rows[-1]


def test_a_watch_that_is_left_is_ended_at_the_daemon(address: str) -> None:
    with Client(address) as client:
        began_s = time.monotonic()
        for _ in range(20):
            next(client.watch_sessions(interval_s=60))
        assert time.monotonic() - began_s < 10
