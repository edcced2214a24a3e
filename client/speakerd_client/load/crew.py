"""The generating processes, seen from the one that starts them."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import Self

from speakerd_client.errors import SpeakerdError
from speakerd_client.load.orders import (
    HEAD_BYTES,
    Answer,
    Broken,
    Go,
    Material,
    Order,
    Progress,
    Ready,
    Stop,
    body_bytes,
    framed,
)
from speakerd_client.load.tally import ClosedTally, LiveTally

Tally = LiveTally | ClosedTally
Watch = Callable[[Progress, float], None]
"""Is told the progress of all processes together, and the seconds since the begin."""
BEGIN_S = 0.1
"""From the last process's readiness to the begin, so that all begin at once."""
_END_S = 5.0


class Crew:
    """So many generating processes, in an `async with`; each has the material and takes orders.

    Raises the SpeakerdError that stops a process; then all of them are ended.
    """

    def __init__(self, material: Material, processes: int) -> None:
        self._material, self._processes = material, processes
        self._hands: list[_Hand] = []

    async def __aenter__(self) -> Self:
        try:
            for _ in range(self._processes):
                self._hands.append(await _started())
            frame = framed(self._material)
            await asyncio.gather(*(hand.tell(frame) for hand in self._hands))
            await asyncio.gather(*(hand.ready() for hand in self._hands))
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def run(self, orders: Sequence[Order], watch: Watch, stop: asyncio.Event) -> list[Tally]:
        """Have each process do its order, all from one moment on; give what each has counted.

        With `stop`, which may be set before or meanwhile, they break off and say what they have.
        """
        pairs = list(zip(self._hands, orders, strict=True))
        await asyncio.gather(*(hand.tell(framed(order)) for hand, order in pairs))
        await asyncio.gather(*(hand.ready() for hand in self._hands))
        begin_s = monotonic() + BEGIN_S
        word = Stop() if stop.is_set() else Go(begin_s)
        await asyncio.gather(*(hand.tell(framed(word)) for hand in self._hands))
        stopping = asyncio.create_task(self._stop_when(stop))

        def seen() -> None:
            both = sum((hand.progress for hand in self._hands), Progress())
            watch(both, max(0.0, monotonic() - begin_s))

        try:
            return await asyncio.gather(*(hand.tally(seen) for hand in self._hands))
        finally:
            stopping.cancel()

    async def _stop_when(self, stop: asyncio.Event) -> None:
        await stop.wait()
        await asyncio.gather(*(hand.tell(framed(Stop())) for hand in self._hands))

    async def _end(self) -> None:
        await asyncio.gather(*(hand.end() for hand in self._hands))


class _Hand:
    """One generating process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.progress = Progress()

    async def tell(self, frame: bytes) -> None:
        """Send a frame; that it cannot be taken is learnt from the answer that does not come."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(frame)
            await self._process.stdin.drain()

    async def ready(self) -> None:
        """Wait until the process is ready."""
        while not isinstance(await self._answer(), Ready):
            pass

    async def tally(self, seen: Callable[[], None]) -> Tally:
        """Wait for what the process has counted; `seen` is called at every progress."""
        self.progress = Progress()
        while True:
            answer = await self._answer()
            if isinstance(answer, Progress):
                self.progress = answer
                seen()
            elif isinstance(answer, LiveTally | ClosedTally):
                return answer

    async def end(self) -> None:
        """Let the process end, or end it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self) -> Answer:
        assert self._process.stdout is not None
        try:
            size_bytes = body_bytes(await self._process.stdout.readexactly(HEAD_BYTES))
            answer = pickle.loads(await self._process.stdout.readexactly(size_bytes))
        except asyncio.IncompleteReadError as error:
            code = await self._process.wait()
            raise SpeakerdError(f"a generating process ended on its own, with {code}") from error
        if isinstance(answer, Broken):
            raise answer.error
        return answer  # type: ignore[no-any-return]


async def _started() -> _Hand:
    """Start one: it finds the modules where this process does, and Ctrl-C does not reach it."""
    places = os.pathsep.join(each or os.getcwd() for each in sys.path)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "speakerd_client.load.worker",
            stdin=PIPE,
            stdout=PIPE,
            env=os.environ | {"PYTHONPATH": places},
            process_group=0,
        )
    except OSError as error:
        text = f"a generating process cannot be started ({error.strerror}); take fewer --processes"
        raise SpeakerdError(text) from error
    return _Hand(process)
