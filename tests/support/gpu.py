"""GPUs for tests: those that need one, and those of what happens where there is none."""

from __future__ import annotations

import pytest
from speakerd_server.engine.devices import Gpu, look_for_gpus


def some_gpu() -> Gpu:
    """Give the first GPU, or skip the test, saying what was found instead."""
    found = look_for_gpus()
    if not found.gpus:
        pytest.skip(f"no GPU: {found}")
    return found.gpus[0]


def no_gpu() -> str:
    """Give what a look for GPUs says on this machine, or skip the test where it has one."""
    found = look_for_gpus()
    if found.gpus:
        pytest.skip(f"there is a GPU: {found}")
    return str(found)
