"""speakerctl and programs with the SDK end cleanly, however they are ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from speakerd_client import Client, read_audio
from support.daemon import Daemon
from support.speech import VOICES

CALL = str(VOICES / "slt-call.flac")
SPEAKER = "ending-slt"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon of little patience."""
    folder = tmp_path_factory.mktemp("ending")
    with Daemon(folder, "--calls-idle-timeout-s=1.5") as running:
        with Client(running.address) as client:
            client.enroll(SPEAKER, read_audio(VOICES / "slt-enrol.flac"))
        yield running


def started(
    daemon: Daemon, *command: str, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"SPEAKERD_ADDRESS": daemon.address},
    )


def until_a_call_is_open(daemon: Daemon) -> None:
    with Client(daemon.address) as client:
        deadline_s = time.monotonic() + 10
        while not client.server_info().live_streams:
            assert time.monotonic() < deadline_s
            time.sleep(0.02)


@pytest.mark.parametrize(
    "arguments",
    [[CALL, "--realtime"], [CALL, "--realtime", "--json"], ["-"], ["-", "--json"]],
    ids=" ".join,
)
def test_ctrl_c_is_one_line_and_130(daemon: Daemon, arguments: list[str]) -> None:
    silent, writer = os.pipe()
    process = started(daemon, "-m", "speakerd_client", "verify", SPEAKER, *arguments, stdin=silent)
    until_a_call_is_open(daemon)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    os.close(silent)
    os.close(writer)
    assert process.returncode == 130
    assert errors == "speakerctl: interrupted\n"


def test_a_silent_standard_input_ends_with_the_daemons_reason(daemon: Daemon) -> None:
    silent, writer = os.pipe()
    process = started(daemon, "-m", "speakerd_client", "verify", SPEAKER, "-", stdin=silent)
    _, errors = process.communicate(timeout=15)
    os.close(silent)
    os.close(writer)
    assert process.returncode == 3
    assert "STREAM_IDLE" in errors
    assert errors.count("\n") == 1


LEFT_OPEN = """
import os
from speakerd_client import Client, Everyone, read_audio
audio = read_audio({path!r})
client = Client(os.environ["SPEAKERD_ADDRESS"])
updates = client.verify_stream(Everyone(), audio.pieces(), audio.format)
print(next(updates).is_final)
"""


def test_a_generator_left_open_says_nothing_at_the_end(daemon: Daemon) -> None:
    process = started(daemon, "-c", LEFT_OPEN.format(path=CALL))
    assert process.communicate(timeout=15) == ("False\n", "")
    assert process.returncode == 0


def test_an_interrupted_wait_leaves_the_client_usable(daemon: Daemon, tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(
        "import os, signal, threading\n"
        "from speakerd_client import AudioFormat, Client\n"
        "client = Client(os.environ['SPEAKERD_ADDRESS'])\n"
        "with client.stream_verify('anyone', AudioFormat()) as call:\n"
        "    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    try: next(call)\n"
        "    except KeyboardInterrupt: print('interrupted')\n"
        "print(client.health().value)\n"
        "client.close()\n"
    )
    process = started(daemon, str(script))
    assert process.communicate(timeout=15) == ("interrupted\nserving\n", "")
