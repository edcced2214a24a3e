from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, os
from speakerd_server import runtime

async def main():
    loop = asyncio.get_running_loop()
    policy = os.sched_getscheduler(0) if hasattr(os, "sched_getscheduler") else None
    print(type(loop).__module__, policy, gc.get_threshold()[0])
    return 7

assert runtime.run(main) == 7
"""


def told(*before: str) -> list[str]:
    """Run a process of its own, since what is set there lasts."""
    command = [*before, sys.executable, "-c", PROGRAM]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(sys.platform != "linux", reason="the policy is Linux's")
def test_a_process_runs_on_uvloop_and_lets_running_threads_end_their_turn() -> None:
    loop, policy, young = told()
    assert loop == "uvloop"
    assert int(policy) == os.SCHED_BATCH
    assert int(young) > gc.get_threshold()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="the policy is Linux's")
def test_a_policy_that_the_operator_chose_is_left_alone() -> None:
    assert int(told("chrt", "-i", "0")[1]) == os.SCHED_IDLE


def test_what_the_main_function_raises_comes_out() -> None:
    from speakerd_server.runtime import _loop_factory

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("as it is")

    with (
        asyncio.Runner(loop_factory=_loop_factory()) as runner,
        pytest.raises(ValueError, match="as it is"),
    ):
        runner.run(failing())


FREEING = """
import asyncio, threading
import numpy as np
from pathlib import Path
from speakerd_server import runtime

def resident_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssAnon")]
    return int(line.split()[1]) / 1024

def use():
    np.ones(2 << 20)
    blocks = [bytearray(b"x" * 60_000) for _ in range(400)]
    print(resident_mib())

async def main():
    print(resident_mib())
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    print(resident_mib())

runtime.run(main)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's alone"
)
def test_memory_that_a_thread_freed_goes_back_to_the_system() -> None:
    command = [sys.executable, "-c", FREEING]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, used, after = map(float, done.stdout.split())
    assert used - before > 20
    assert after - before < 5
