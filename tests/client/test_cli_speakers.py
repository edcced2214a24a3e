"""speakerctl speakers opt-out and allow, against a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from speakerd_client.cli.app import run
from support.daemon import Daemon
from support.speech import VOICES

ENROL = str(VOICES / "slt-enrol.flac")
CALL = str(VOICES / "slt-call.flac")


@pytest.fixture(autouse=True)
def address(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", daemon.address)
    return daemon.address


def line_of(text: str) -> Any:
    (line,) = text.splitlines()
    return json.loads(line)


def test_who_opts_out_is_refused_until_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enroll", "cli-out", ENROL]) == 0
    capsys.readouterr()
    assert run(["speakers", "opt-out", "cli-out", "--yes"]) == 0
    assert capsys.readouterr().out == "OPTED_OUT  cli-out  1 recording erased\n"
    assert run(["verify", "cli-out", CALL]) == 2
    assert capsys.readouterr().out.startswith("SPEAKER_OPTED_OUT  cli-out  no score")
    assert run(["speakers", "show", "cli-out"]) == 0
    shown = capsys.readouterr().out
    assert "OPTED_OUT" in shown
    assert "opted out" in shown
    assert run(["enroll", "cli-out", ENROL]) == 3
    assert "SPEAKER_OPTED_OUT" in capsys.readouterr().err
    assert run(["speakers", "delete", "cli-out", "--yes"]) == 3
    assert "AllowSpeaker lifts it" in capsys.readouterr().err
    assert run(["speakers", "allow", "cli-out"]) == 0
    assert capsys.readouterr().out == "PENDING  cli-out\n"
    assert run(["speakers", "delete", "cli-out", "--yes"]) == 0
    assert capsys.readouterr().out == "DELETED  cli-out  0 recordings erased\n"


def test_scripts_read_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["speakers", "opt-out", "cli-script", "--yes", "--json"]) == 0
    done = {"speaker_id": "cli-script", "recordings_erased": 0}
    assert line_of(capsys.readouterr().out) == done
    assert run(["speakers", "show", "cli-script", "--json"]) == 0
    shown = line_of(capsys.readouterr().out)
    assert (shown["state"], shown["opted_out"][-6:]) == ("opted_out", "+00:00")
    assert run(["speakers", "allow", "cli-script", "--json"]) == 0
    allowed = line_of(capsys.readouterr().out)
    assert (allowed["state"], allowed["opted_out"]) == ("pending", None)
    assert run(["speakers", "allow", "cli-script"]) == 3
    assert "SPEAKER_NOT_OPTED_OUT" in capsys.readouterr().err


def test_nothing_is_erased_where_nobody_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["enroll", "cli-asked", ENROL]) == 0
    command = [sys.executable, "-m", "speakerd_client", "speakers", "opt-out", "cli-asked"]
    done = subprocess.run(command, input=b"", capture_output=True)
    assert done.returncode == 3
    assert b"say --yes to opt out" in done.stderr
    assert run(["verify", "cli-asked", CALL]) == 0
    assert run(["speakers", "delete", "cli-asked", "--yes"]) == 0
    capsys.readouterr()
