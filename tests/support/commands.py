"""`speakerd` as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LONGEST_S = 100


def command(*arguments: object) -> list[str]:
    """Give the command line."""
    return [sys.executable, "-m", "speakerd_server", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Give this process's environment without speakerd's settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SPEAKERD_")}


def speakerd(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it says on stderr holds no traceback."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(),
        timeout=LONGEST_S,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
