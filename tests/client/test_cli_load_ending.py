"""speakerctl load while it goes on: what a terminal shows, and what Ctrl-C does."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import pytest
from speakerd_client import Client
from support.daemon import Daemon

SHORT = ["--samples-per-chunk", "8000"]


@pytest.fixture(autouse=True)
def address(light: Daemon, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SPEAKERD_ADDRESS", light.address)
    return light.address


def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "speakerd_client", "load", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, text=True, **options)


def until_it_is_heard(address: str, windows: int) -> None:
    """Wait until so many more windows were embedded."""
    with Client(address) as client:
        wanted = client.server_info().windows_embedded + windows
        while client.server_info().windows_embedded < wanted:
            time.sleep(0.02)


@pytest.mark.parametrize("in_json", [True, False])
def test_ctrl_c_tells_what_was_measured(address: str, in_json: bool) -> None:
    flags = ["--json"] if in_json else []
    process = started("--streams", "3", "--seconds", "60", "--processes", "2", *SHORT, *flags)
    until_it_is_heard(address, 9)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=15)
    assert process.returncode == 130
    assert errors == "speakerctl: interrupted\n"
    if in_json:
        facts = json.loads(out)
        assert facts["interrupted"] is True
        assert facts["streams"] == {"asked": 3, "opened": 3, "finished": 0, "failed": 0}
        assert facts["messages"] > 0
    else:
        assert "3 asked, 3 opened, 0 finished, 0 failed" in out
        assert "interrupted: this is what was measured until then" in out
    with Client(address) as client:
        while client.server_info().live_streams:
            time.sleep(0.02)


def test_ctrl_c_before_anything_was_measured_tells_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = started("--streams", "2", "--address", f"127.0.0.1:{silent.getsockname()[1]}")
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=15)
        connection.close()
    assert (process.returncode, out) == (130, "")
    assert errors == "speakerctl: interrupted\n"


def test_progress_is_shown_on_a_terminal_only() -> None:
    leader, follower = pty.openpty()
    process = started("--streams", "2", "--seconds", "1", *SHORT, stderr=follower)
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
    assert b"2 open" in drawn
    assert "\x1b" not in out
