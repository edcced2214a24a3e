"""A generating process's share of a closed loop: each answer makes room for the next request."""

from __future__ import annotations

import asyncio
from time import monotonic

from speakerd_client.errors import NotReachable, SpeakerdError
from speakerd_client.load.asking import Asking
from speakerd_client.load.orders import ClosedOrder, Progress
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.tally import ClosedTally, Meter

REFUSED_PAUSE_S = 0.1
"""After a failure, so that a daemon that refuses at once is not asked a thousand times a second."""


class ClosedJob:
    """A `Job`: slots that ask one thing after another. Knows nothing of what is asked."""

    def __init__(self, plan: ClosedPlan, asking: Asking, order: ClosedOrder) -> None:
        self._plan, self._asking, self._order = plan, asking, order
        self._tally, self._meter = ClosedTally(), Meter()
        self._slots: list[asyncio.Task[None]] = []
        self._going = self._done = 0
        self._stopped = False

    async def connect(self) -> None:
        """Open the connections. Raises NotReachable."""
        await self._asking.connect(self._order.connections)

    async def run(self, begin_s: float) -> ClosedTally:
        """Ask until the time is over, and wait for the answers that are still due."""
        order, plan = self._order, self._plan
        idle = self._stopped or not order.connections
        own = range(0) if idle else range(order.first, order.concurrency, order.step)
        from_s, until_s = begin_s + plan.settle_s, begin_s + plan.seconds
        await asyncio.sleep(max(0.0, begin_s - monotonic()))
        measuring = asyncio.create_task(self._measure(from_s, until_s))
        self._slots = [asyncio.create_task(self._slot(each, from_s, until_s)) for each in own]
        if self._slots:
            await asyncio.wait(self._slots)
        measuring.cancel()
        for slot in self._slots:
            if not slot.cancelled():
                slot.result()
        self._tally.shares.append(self._meter.end())
        self._tally.counted_s = max(0.0, min(monotonic(), until_s) - from_s)
        return self._tally

    def stop(self) -> None:
        """Break off every call."""
        self._stopped = True
        for slot in self._slots:
            slot.cancel()

    def progress(self) -> Progress:
        """Say how it goes."""
        return Progress(self._going, self._done, len(self._tally.failures), self._done)

    async def close(self) -> None:
        """Close the connections."""
        await self._asking.close()

    async def _slot(self, number: int, from_s: float, until_s: float) -> None:
        """Ask again and again; a daemon that is gone ends the slot."""
        while (begin_s := monotonic()) < until_s:
            counts = begin_s >= from_s
            self._tally.asked += 1
            self._tally.begun += counts
            self._going += 1
            try:
                audio_s = await self._asking.ask(number)
            except SpeakerdError as error:
                self._tally.failures.add(error)
                if isinstance(error, NotReachable):
                    return
                await asyncio.sleep(REFUSED_PAUSE_S)
            else:
                self._answered(audio_s, begin_s if counts else None, from_s, until_s)
            finally:
                self._going -= 1
            number += self._order.concurrency

    def _answered(
        self, audio_s: float, begin_s: float | None, from_s: float, until_s: float
    ) -> None:
        now_s = monotonic()
        self._done += 1
        if begin_s is not None:
            self._tally.latency.add(now_s - begin_s)
        if from_s <= now_s <= until_s:
            self._tally.answered += 1
            self._tally.audio_s += audio_s

    async def _measure(self, from_s: float, until_s: float) -> None:
        await asyncio.sleep(max(0.0, from_s - monotonic()))
        self._meter.begin()
        await asyncio.sleep(until_s - monotonic())
        self._meter.end()
