"""File systems of their own, mounted for one test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.shared import cannot_run


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    """Mount a file system of so many bytes on a new folder; skips, or fails in CI, without root."""
    if os.geteuid() != 0:
        cannot_run("needs root to mount a file system")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(folder)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        cannot_run(f"this system does not let root mount a file system: {found.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
