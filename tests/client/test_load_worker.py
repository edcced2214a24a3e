"""A generating process by itself: it ends when nobody is there to be told anything."""

from __future__ import annotations

import subprocess
import sys

import pytest
from speakerd_client.load.orders import (
    HEAD_BYTES,
    LiveOrder,
    Material,
    Ready,
    body_bytes,
    framed,
)
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.sound import tracks_of
from support.daemon import Daemon

WORKER = [sys.executable, "-P", "-m", "speakerd_client.load.worker"]
ORDER = LiveOrder(0, 1, 4, 1, 0.5, 0.0, 1e6, 60.0, 1.0)


@pytest.mark.parametrize("is_working", [False, True])
def test_a_worker_ends_when_the_one_that_started_it_is_gone(
    light: Daemon, is_working: bool
) -> None:
    plan = LivePlan(light.address, seconds=60.0)
    worker = subprocess.Popen(WORKER, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(framed(Material(plan, tracks_of([], synthetic_s=0.5))))
    worker.stdin.flush()
    size_bytes = body_bytes(worker.stdout.read(HEAD_BYTES))
    assert worker.stdout.read(size_bytes) == framed(Ready())[HEAD_BYTES:]
    if is_working:
        worker.stdin.write(framed(ORDER))
        worker.stdin.flush()
        worker.stdout.read(HEAD_BYTES)
    worker.stdin.close()
    assert worker.wait(10) == 0
    worker.stdout.close()


def test_a_worker_that_is_told_nothing_ends_without_a_word() -> None:
    done = subprocess.run(WORKER, input=b"", capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
