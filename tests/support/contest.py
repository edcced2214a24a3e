"""A processor that somebody else is busy on too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def in_a_thread(work: Callable[[], None]) -> None:
    """Run in a thread of its own, since what is set there lasts; raise what it raises."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def contest() -> Iterator[None]:
    """Let this thread share one processor with a busy process."""
    cpu = min(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            os.sched_setaffinity(busy.pid, {cpu})
            os.sched_setaffinity(0, {cpu})
            yield
        finally:
            busy.kill()
