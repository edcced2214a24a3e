"""The other end of the supervisor's link: `python -m ...processes.entry KIND FD NAME`."""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from speakerd_server import logs, runtime
from speakerd_server.processes.link import Link
from speakerd_server.processes.messages import Begin, Stop

KINDS = {
    "worker": "speakerd_server.processes.worker_process:WorkerProcess",
    "engine": "speakerd_server.processes.engine_process:EngineProcess",
    "store": "speakerd_server.processes.store_process:StoreProcess",
}
"""What a process can be."""

Ask = Callable[[Any], Any]


class Process(Protocol):
    """What a kind of process does."""

    async def begin(self, begin: Begin) -> None:
        """Become it; raises a SpeakerdError where it cannot."""

    async def answer(self, question: Any) -> Any:
        """Answer the supervisor."""

    async def close(self) -> None:
        """Finish what must be finished."""


def main(kind: Callable[[Ask], Process] | None = None) -> None:
    """Be a process of the kind that the command line names, or of one that is given."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor is told, and tells
    runtime.run(lambda: _live(kind or _kind(sys.argv[1]), int(sys.argv[2])))


def _kind(name: str) -> Callable[[Ask], Process]:
    module, _, attribute = KINDS[name].partition(":")
    kind: Callable[[Ask], Process] = getattr(importlib.import_module(module), attribute)
    return kind


async def _live(kind: Callable[[Ask], Process], descriptor: int) -> None:
    stopping, supervisor = asyncio.Event(), os.getppid()
    folder: Path | None = None
    begun = False

    def orphaned() -> None:
        """End, for nobody could stop this process, and another daemon may be started."""
        if folder is not None and _has_ended(supervisor):
            shutil.rmtree(folder, ignore_errors=True)  # the supervisor no longer can
        os._exit(1)

    async def answer(question: Any) -> Any:
        nonlocal folder, begun
        if isinstance(question, Begin):
            folder = question.whereabouts.folder
            logs.configure(question.settings.logs, question.name)
            await process.begin(question)
            begun = True
            return None
        if isinstance(question, Stop):
            stopping.set()
            return None
        return await process.answer(question)

    connection = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    link = Link(reader, writer, answer, on_lost=orphaned)
    process = kind(link.ask)
    await stopping.wait()
    if begun:
        await process.close()
    os._exit(0)


def _has_ended(parent: int) -> bool:
    """Tell whether the parent has; an ending one lets go of its connections a moment before."""
    for _ in range(50):
        if os.getppid() != parent:
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    main()
