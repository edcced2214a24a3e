"""One of the processes as the supervisor has it: started, asked, and known to have ended."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from speakerd_server.calls.administration import ProcessState
from speakerd_server.errors import ProcessFailed
from speakerd_server.processes.link import Link, LinkLost
from speakerd_server.processes.messages import Stop

_ENTRY = ("-P", "-m", "speakerd_server.processes.entry")
"""Without -P, whatever lies in the folder where the daemon was started could be imported."""
_PATIENCE_S = 10.0


@contextmanager
def _without_collection() -> Iterator[None]:
    """Let no garbage be collected between fork and exec, where uvloop runs Python in the child.

    An object of gRPC that is freed there waits for a thread that the child does not have, and its
    parent for the child, for ever.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Child:
    """A process that is started anew whenever it ends, until it is told to stop.

    Args:
        kind: One of entry.KINDS.
        name: In logs and to operators, such as "worker 0".
        handler: Answers what it asks.
        environment: Beside what this process has.
        program: Arguments of Python, before kind and descriptor; our own entry where empty.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        handler: Callable[[Any], Awaitable[Any]],
        environment: Mapping[str, str],
        program: Sequence[str] = (),
    ) -> None:
        self.kind, self.name = kind, name
        self._handler, self._environment = handler, environment
        self._program = program or _ENTRY
        self._link: Link | None = None
        self._process: asyncio.subprocess.Process | None = None
        self.started_unix_s = 0.0
        self.restarts = 0
        self.stopping = False
        """Whether it is meant to end."""
        self.ready = False
        """Whether it is what it was started to be, which `start` and its end deny."""

    @property
    def is_up(self) -> bool:
        """Whether it runs and can be asked."""
        return self._link is not None

    @property
    def state(self) -> ProcessState:
        """Say how it does."""
        pid = self.pid if self.is_up else 0
        return ProcessState(self.name, pid, self.started_unix_s, self.restarts)

    @property
    def pid(self) -> int:
        """Of the process that was started last; 0 before the first."""
        return 0 if self._process is None else self._process.pid

    async def start(self, pass_fds: Sequence[int] = ()) -> None:
        """Start the process; it waits for its first word."""
        self.ready = False
        ours, theirs = socket.socketpair()
        try:
            with theirs, _without_collection():
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *self._program,
                    self.kind,
                    str(theirs.fileno()),
                    self.name,  # for whoever lists processes
                    pass_fds=(theirs.fileno(), *pass_fds),
                    env=os.environ | dict(self._environment),
                    stdin=asyncio.subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for the supervisor
                )
        except BaseException:
            ours.close()
            raise
        self.started_unix_s = time.time()
        reader, writer = await asyncio.open_unix_connection(sock=ours)

        def lost() -> None:
            if self._link is link:
                self._link, self.ready = None, False

        link = self._link = Link(reader, writer, self._handler, lost)

    async def ask(self, question: Any) -> Any:
        """Ask it; raises what it raises, and LinkLost when it is not there."""
        if self._link is None:
            raise LinkLost
        return await self._link.ask(question)

    async def order(self, order: Any) -> Any:
        """Ask it for a step of its start; raises what it raises, and ProcessFailed."""
        try:
            return await self.ask(order)
        except LinkLost:
            cause = "it ended, or was ended; its log or that of the system has more"
            raise ProcessFailed(self.name, cause) from None
        except RuntimeError as error:
            raise ProcessFailed(self.name, str(error)) from None

    async def ended(self) -> str:
        """Return how it ended, once it has."""
        assert self._process is not None
        code = await self._process.wait()
        self._link, self.ready = None, False  # which the link may notice only later
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    async def stop(self) -> None:
        """Tell it to end, and end it where it does not."""
        self.stopping = True
        if self._process is None or self._process.returncode is not None:
            return
        try:
            async with asyncio.timeout(_PATIENCE_S):
                with suppress(LinkLost):
                    await self.ask(Stop())
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End it without a word."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
