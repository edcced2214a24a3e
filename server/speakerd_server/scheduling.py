"""Which threads may break off others: those that compute may, those that read and write may not."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DELAYS = Path("/proc/thread-self/schedstat")
_NICENESS = 10
"""A tenth of the time of a thread that gives no way."""


def stand_back() -> None:
    """Let this thread, and those it starts, wait for a running one's turn to end when they wake up.

    While all cores compute, messages are then read many at a time, a few milliseconds later; with
    a core free nothing waits. Does nothing where the system has no such policy, or another one was
    chosen for the process.
    """
    _change("SCHED_OTHER", "SCHED_BATCH")


@contextmanager
def forward() -> Iterator[None]:
    """Undo `stand_back` for this thread, and for those it starts, until the body ends.

    The threads of one batch wake each other up: on one core, waiting for turns, they would compute
    one after the other.
    """
    changed = _change("SCHED_BATCH", "SCHED_OTHER")
    try:
        yield
    finally:
        if changed:
            stand_back()


def give_way() -> None:
    """Let this thread have a small share of a processor that others want, for good."""
    # Where threads have no priority of their own, the whole process must not lose its.
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def delayed_s() -> float:
    """Give how long this thread, ready to run, has waited for a processor so far, in seconds.

    0 where the system does not tell.
    """
    try:
        return int(_DELAYS.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _change(before: str, after: str) -> bool:
    if not hasattr(os, "SCHED_BATCH"):
        return False
    # A container may forbid it; it is a matter of speed alone.
    with suppress(OSError):
        if os.sched_getscheduler(0) == getattr(os, before):
            os.sched_setscheduler(0, getattr(os, after), os.sched_param(0))
            return True
    return False
