"""The demo as `make demo` runs it: right answers, and an exit code that tells wrong ones."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.shared import ROOT

pytestmark = pytest.mark.timeout(60)
DEMO = ROOT / "deploy" / "demo"
SERVES_WITHIN_S = 5.0
EXPORTED = {
    "SPEAKERD_SHARED": "absent",
    "SPEAKERD_REQUIRE_SHARED": "1",
    "SPEAKERD_CHECKPOINT": "absent.pt",
    "SPEAKERD_CONFIG": "absent.toml",
    "SPEAKERD_LOGS_LEVEL": "loud",
    "SPEAKERD_ADDRESS": "127.0.0.1:1",
}
"""What a developer's shell may have set: none of it is the demo's business."""


def played(folder: Path, in_folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(folder / "demo.py")],
        cwd=in_folder,
        env=os.environ | EXPORTED,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=55,
        check=False,
    )


def rows_that_end_with(word: str, text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("│") and f" {word} " in line]


def test_the_demo_serves_soon_answers_five_questions_and_tells_how_to_go_on(
    tmp_path: Path,
) -> None:
    demo = played(DEMO, tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert demo.stderr == ""
    up = re.search(r"daemon up on 127\.0\.0\.1:\d+ after (\d+\.\d) s", demo.stdout)
    assert up is not None
    assert float(up[1]) < SERVES_WITHIN_S
    assert len(rows_that_end_with("right", demo.stdout)) == 5
    assert rows_that_end_with("WRONG", demo.stdout) == []
    _, _, after = demo.stdout.partition("Try your own voice")
    serve, enroll, verify = after.strip().splitlines()[1:]
    assert serve.strip() == ".venv/bin/speakerd serve"
    assert ".venv/bin/speakerctl enroll me" in enroll
    assert ".venv/bin/speakerctl verify me" in verify
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_answer_makes_the_demo_fail(tmp_path: Path) -> None:
    copied = tmp_path / "demo"
    shutil.copytree(DEMO, copied, ignore=shutil.ignore_patterns("__pycache__"))
    one, other = copied / "voices" / "slt-call.flac", copied / "voices" / "awb-call.flac"
    swapped = tmp_path / "swapped.flac"
    one.rename(swapped)
    other.rename(one)
    swapped.rename(other)
    demo = played(copied, tmp_path)
    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert len(rows_that_end_with("WRONG", demo.stdout)) == 2
    assert "not every answer is right" in demo.stdout
    assert "Try your own voice" not in demo.stdout
