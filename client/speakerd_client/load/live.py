"""A generating process's share of the live streams."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic
from typing import Protocol

import grpc.aio

from speakerd_client.load.channels import closed, connected
from speakerd_client.load.course import Course, Wire
from speakerd_client.load.orders import LiveOrder, Progress
from speakerd_client.load.plan import LivePlan
from speakerd_client.load.stream import LiveStream
from speakerd_client.load.tally import ClosedTally, LiveTally, Meter


class Job(Protocol):
    """What a process does for one order, in the order of these methods."""

    async def connect(self) -> None:
        """Open the connections. Raises NotReachable."""

    async def run(self, begin_s: float) -> LiveTally | ClosedTally:
        """Do it, from `begin_s` on the clock of time.monotonic; to the end, or until `stop`."""

    def stop(self) -> None:
        """Break off: `run` ends soon, with what was counted."""

    def progress(self) -> Progress:
        """Say how it goes."""

    async def close(self) -> None:
        """Close the connections."""


class LiveJob:
    """A `Job`: paced live streams."""

    def __init__(self, plan: LivePlan, wires: list[Wire], order: LiveOrder) -> None:
        self._plan, self._wires, self._order = plan, wires, order
        self._channels: list[grpc.aio.Channel] = []
        self._streams: list[LiveStream] = []
        self._tally, self._meter = LiveTally(), Meter()
        self._stopped = asyncio.Event()

    async def connect(self) -> None:
        """Open the connections. Raises NotReachable."""
        self._channels = await connected(self._plan.address, self._order.connections)

    async def run(self, begin_s: float) -> LiveTally:
        """Run this process's streams to their ends."""
        order, course = self._order, self._course(begin_s)
        own = range(order.first, order.streams, order.step) if self._channels else range(0)
        measuring = asyncio.create_task(self._measure(begin_s))
        async with asyncio.TaskGroup() as tasks:
            for place, number in enumerate(own):
                channel = self._channels[place % len(self._channels)]
                wire = self._wires[number % len(self._wires)]
                stream = LiveStream(channel, wire, course, self._tally)
                self._streams.append(stream)
                tasks.create_task(self._begun(stream, number, wire, begin_s))
        measuring.cancel()
        self._tally.shares.append(self._meter.end())
        return self._tally

    def stop(self) -> None:
        """Break off every stream."""
        self._stopped.set()
        for stream in self._streams:
            stream.stop()

    def progress(self) -> Progress:
        """Say how it goes."""
        tally, failed = self._tally, len(self._tally.failures)
        going = tally.asked - tally.finished - failed
        return Progress(going, tally.finished, failed, tally.windows_answered)

    async def close(self) -> None:
        """Close the connections."""
        await closed(self._channels)

    async def _begun(self, stream: LiveStream, number: int, wire: Wire, begin_s: float) -> None:
        """Wait for the stream's start phase, then run it from its own place in the track."""
        order = self._order
        await self._until(begin_s + order.spread_s * number / order.streams)
        if self._stopped.is_set():
            return
        sharing = -(-order.streams // len(self._wires))
        turn = number // len(self._wires)
        await stream.run(turn * len(wire.messages) // sharing, Random(number))

    async def _measure(self, begin_s: float) -> None:
        """Measure the processor time once all streams have begun, until the first ones end."""
        order = self._order
        from_s = max(order.count_from_s, order.spread_s)
        if from_s >= order.measure_until_s:
            from_s = order.count_from_s
        await self._until(begin_s)
        self._meter.begin()
        await self._until(begin_s + from_s)
        self._meter.begin()
        await self._until(begin_s + order.measure_until_s)
        self._meter.end()

    async def _until(self, at_s: float) -> None:
        """Wait for a time, or for the end of it all."""
        try:
            async with asyncio.timeout(max(0.0, at_s - monotonic())):
                await self._stopped.wait()
        except TimeoutError:
            pass

    def _course(self, begin_s: float) -> Course:
        plan, order = self._plan, self._order
        return Course(
            address=plan.address,
            messages=plan.messages,
            message_s=plan.message_ms / 1000,
            jitter_s=plan.jitter_ms / 1000,
            begin_s=begin_s,
            count_from_s=begin_s + order.count_from_s,
            count_until_s=begin_s + order.count_until_s,
            slot_s=order.slot_s,
        )
