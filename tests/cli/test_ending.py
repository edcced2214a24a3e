from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from speakerd_server.cli.ending import ends_plainly

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_an_answer_that_finds_no_place_is_no_answer() -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "speakerd_server", "model", "list"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "speakerd: the answer cannot be written: No space left on device\n"


def test_a_defect_never_ends_with_the_code_of_an_answer() -> None:
    @ends_plainly
    def failing() -> int:
        raise ZeroDivisionError

    with pytest.raises(SystemExit) as ended:
        failing()
    assert ended.value.code == 2


def test_a_closed_pipe_ends_with_the_code_of_no_answer() -> None:
    script = (
        "import sys, time\n"
        "from speakerd_server.cli.ending import ends_plainly\n"
        "@ends_plainly\n"
        "def telling():\n"
        "    time.sleep(0.5)\n"
        "    for _ in range(1000):\n"
        "        sys.stdout.write('x' * 1000)\n"
        "    sys.stdout.flush()\n"
        "telling()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert process.returncode == 2
    assert complaint == ""
