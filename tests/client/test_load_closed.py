"""The closed loop: it counts what is answered in time, and knows nothing of what is asked."""

from __future__ import annotations

import asyncio
import time

import pytest
from speakerd_client import Exhausted, NotReachable
from speakerd_client.errors import SpeakerdError
from speakerd_client.load.closed import ClosedJob
from speakerd_client.load.orders import ClosedOrder
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.tally import ClosedTally


class Echo:
    """Another kind of request than ours: answers after a while, or fails."""

    def __init__(self, answer_s: float, failure: SpeakerdError | None = None) -> None:
        self.answer_s, self.failure = answer_s, failure
        self.asked: list[int] = []
        self.going = self.most = 0
        self.connections = -1

    async def connect(self, connections: int) -> None:
        self.connections = connections

    async def ask(self, number: int) -> float:
        self.asked.append(number)
        self.going += 1
        self.most = max(self.most, self.going)
        try:
            await asyncio.sleep(self.answer_s)
        finally:
            self.going -= 1
        if self.failure is not None:
            raise self.failure
        return 2.0

    async def close(self) -> None:
        self.connections = -1


async def ran(
    asking: Echo, concurrency: int, seconds: float, settle_s: float = 0.0, step: int = 1
) -> ClosedTally:
    plan = ClosedPlan("127.0.0.1:1", "embed", (concurrency,), seconds, settle_s)
    job = ClosedJob(plan, asking, ClosedOrder(0, step, concurrency, 1))
    await job.connect()
    tally = await job.run(time.monotonic())
    await job.close()
    return tally


async def test_so_many_calls_go_on_at_once_and_each_has_a_number_of_its_own() -> None:
    echo = Echo(0.02)
    tally = await ran(echo, 5, 0.5)
    assert echo.most == 5
    assert len(set(echo.asked)) == len(echo.asked) == tally.asked == tally.begun
    assert tally.counted_s == pytest.approx(0.5, abs=0.01)
    assert 0 < tally.answered <= tally.asked
    assert tally.audio_s == 2.0 * tally.answered
    assert len(tally.latency) == tally.begun
    assert len(tally.shares) == 1


async def test_processes_have_slots_and_numbers_of_their_own() -> None:
    echo = Echo(0.05)
    await ran(echo, 5, 0.2, step=2)
    assert echo.most == 3
    assert {number % 5 for number in echo.asked} == {0, 2, 4}


async def test_calls_of_the_settling_time_are_not_counted() -> None:
    echo = Echo(0.02)
    tally = await ran(echo, 2, 0.5, settle_s=0.3)
    assert tally.begun < tally.asked == len(echo.asked)
    assert tally.counted_s == pytest.approx(0.2, abs=0.01)
    assert len(tally.latency) == tally.begun


async def test_a_call_that_outlasts_the_time_shows_in_the_latency() -> None:
    tally = await ran(Echo(0.6), 3, 0.2)
    assert (tally.begun, tally.answered, len(tally.latency)) == (3, 0, 3)


async def test_a_daemon_that_refuses_is_asked_again_after_a_pause() -> None:
    echo = Echo(0.0, Exhausted("full", reason="TOO_MANY_CALLS"))
    tally = await ran(echo, 2, 0.5)
    ((reason, count),) = [(row.reason, row.count) for row in tally.failures.rows(tally.asked)]
    assert reason == "TOO_MANY_CALLS"
    assert 2 < count <= 12
    assert (tally.answered, len(tally.latency)) == (0, 0)


async def test_a_daemon_that_is_gone_ends_the_loop() -> None:
    tally = await ran(Echo(0.0, NotReachable("gone")), 3, 60.0)
    assert [(row.reason, row.count) for row in tally.failures.rows(3)] == [("NotReachable", 3)]
    assert tally.counted_s < 30


@pytest.mark.parametrize("before", [True, False])
async def test_a_loop_that_is_stopped_says_what_it_has(before: bool) -> None:
    echo = Echo(0.01)
    plan = ClosedPlan("127.0.0.1:1", "embed", (2,), 60.0)
    job = ClosedJob(plan, echo, ClosedOrder(0, 1, 2, 1))
    if before:
        job.stop()
    else:
        asyncio.get_running_loop().call_later(0.2, job.stop)
    tally = await job.run(time.monotonic())
    assert (tally.answered > 0) is not before
    assert len(tally.failures) == 0
    assert echo.going == 0


async def test_a_process_without_connections_asks_nothing() -> None:
    echo = Echo(0.01)
    plan = ClosedPlan("127.0.0.1:1", "embed", (1,), 0.1)
    job = ClosedJob(plan, echo, ClosedOrder(1, 2, 1, 0))
    await job.run(time.monotonic())
    assert echo.asked == []
