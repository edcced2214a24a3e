from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_an_answer_that_finds_no_place_is_no_answer() -> None:
    with FULL.open("w") as full:
        command = [sys.executable, "-m", "speakerd_server", "model", "list"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "speakerd: the answer cannot be written: No space left on device\n"
