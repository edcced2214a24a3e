"""A generating process: takes orders on standard input, says on standard output what came of them.

`python -m speakerd_client.load.worker`, started by `crew`. It ends when standard input does, so
none is left behind when the starting process is gone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO

from speakerd_client.errors import SpeakerdError
from speakerd_client.load.asking import KINDS, Asking
from speakerd_client.load.closed import ClosedJob
from speakerd_client.load.course import Wire, wire_of
from speakerd_client.load.live import Job, LiveJob
from speakerd_client.load.orders import (
    HEAD_BYTES,
    Answer,
    Broken,
    ClosedOrder,
    Command,
    Go,
    LiveOrder,
    Material,
    Order,
    Ready,
    body_bytes,
    framed,
)
from speakerd_client.load.plan import ClosedPlan, LivePlan

PROGRESS_S = 0.25
Commands = asyncio.Queue[Command | None]


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write among the frames
    with suppress(BrokenPipeError, KeyboardInterrupt):
        asyncio.run(_serve(answers))


async def _serve(answers: BinaryIO) -> None:
    def say(answer: Answer) -> None:
        answers.write(framed(answer))
        answers.flush()

    commands = Commands(8)
    listening = asyncio.create_task(_listen(commands))
    try:
        await _work(commands, say)
    except SpeakerdError as error:
        say(Broken(error))
    except BrokenPipeError:
        raise
    # The edge of a process: the one that has started it must learn of whatever happens here.
    except Exception as error:  # noqa: BLE001
        say(Broken(SpeakerdError(f"a generating process failed: {type(error).__name__}: {error}")))
    finally:
        listening.cancel()


async def _listen(commands: Commands) -> None:
    """Read commands; None stands for the end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while True:
            size_bytes = body_bytes(await reader.readexactly(HEAD_BYTES))
            await commands.put(pickle.loads(await reader.readexactly(size_bytes)))
    except (asyncio.IncompleteReadError, ConnectionError):
        await commands.put(None)


async def _work(commands: Commands, say: Callable[[Answer], None]) -> None:
    material = await commands.get()
    if not isinstance(material, Material):
        return
    desk = _Desk(material)
    gc.collect()
    gc.freeze()  # a full collection over all messages would stop every stream
    say(Ready())
    while (order := await commands.get()) is not None:
        if not isinstance(order, LiveOrder | ClosedOrder):
            continue  # a Stop that came when all was done
        job = desk.job(order)
        try:
            await job.connect()
            say(Ready())
            if not await _done(job, commands, say):
                return
        finally:
            await job.close()


class _Desk:
    """What is sent, serialised once for all orders."""

    def __init__(self, material: Material) -> None:
        self._plan = material.plan
        self._wires: list[Wire] = []
        self._asking: Asking | None = None
        if isinstance(self._plan, LivePlan):
            self._wires = [wire_of(track, self._plan) for track in material.tracks]
        else:
            self._asking = KINDS[self._plan.kind](self._plan, material.tracks)

    def job(self, order: Order) -> Job:
        """Make the job of an order. Raises TypeError for an order of another kind of load."""
        if isinstance(self._plan, LivePlan) and isinstance(order, LiveOrder):
            return LiveJob(self._plan, self._wires, order)
        if isinstance(self._plan, ClosedPlan) and isinstance(order, ClosedOrder) and self._asking:
            return ClosedJob(self._plan, self._asking, order)
        raise TypeError(f"no job for {type(order).__name__} in {type(self._plan).__name__}")


async def _done(job: Job, commands: Commands, say: Callable[[Answer], None]) -> bool:
    """Run a job at the word, telling how it goes; False when there is nobody to tell any more."""
    begin = await commands.get()
    if not isinstance(begin, Go):
        job.stop()
    running = asyncio.create_task(job.run(begin.begin_s if isinstance(begin, Go) else 0.0))
    hearing = asyncio.create_task(commands.get())
    is_heard = False
    while not running.done():
        waited = {running} if is_heard else {running, hearing}
        await asyncio.wait(waited, timeout=PROGRESS_S, return_when=asyncio.FIRST_COMPLETED)
        if hearing.done() and not is_heard:
            is_heard = True
            job.stop()
        say(job.progress())
    hearing.cancel()
    say(running.result())
    return begin is not None and not (is_heard and hearing.result() is None)


if __name__ == "__main__":
    main()
