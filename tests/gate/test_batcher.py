from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from speakerd_server.errors import GateBusy, GateFailed, GateStopped
from speakerd_server.gate.batcher import Network, SpeechGate
from speakerd_server.gate.frames import GateState, first_state
from speakerd_server.gate.network import BATCH_FRAMES, GateNetwork
from speakerd_server.values import Float32
from support.signals import noise


class Counting:
    """A network that says of a frame how loud it is, and how many came before it."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def encode(self, frames: Float32) -> Float32:
        assert self.free.wait(10)
        self.batches.append(len(frames))
        if (frames[:, 0] == 7.0).any():
            raise ValueError("poisoned frame")
        return np.repeat(frames[:, :1], 128, axis=1)

    def judge(self, features: Float32, state: GateState) -> tuple[Float32, GateState]:
        return features[:, 0] / np.float32(10), GateState(state.memory + len(features))


@asynccontextmanager
async def gate(network: Network, pending_frames: int = 1000) -> AsyncIterator[SpeechGate]:
    running = SpeechGate(network, pending_frames)
    try:
        yield running
    finally:
        await running.stop()


def frames(count: int, value: float = 1.0) -> Float32:
    return np.full((count, 576), value, np.float32)


async def test_frames_of_all_calls_share_batches_and_come_back_to_their_own() -> None:
    network = Counting()
    network.free.clear()
    async with gate(network) as running:
        answers = [running.submit(frames(12, value), first_state()) for value in range(7)]
        network.free.set()
        for value, answer in enumerate(answers):
            probabilities, state = await answer
            assert probabilities.tolist() == pytest.approx([value / 10] * 12)
            assert state.memory.max() == 12
    assert sum(network.batches) == 84
    assert max(network.batches) == BATCH_FRAMES
    assert len(network.batches) <= 7


async def test_a_frame_is_judged_the_same_whatever_calls_are_beside_it() -> None:
    signals = [
        np.stack([noise(576, 100 * call + one) for one in range(10 + call)]) for call in range(6)
    ]
    async with gate(GateNetwork()) as running:
        alone = [(await running.submit(one, first_state()))[0] for one in signals]
        together = await asyncio.gather(*(running.submit(s, first_state()) for s in signals))
    for one, (other, _) in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


async def test_a_full_queue_is_refused_at_once() -> None:
    network = Counting()
    network.free.clear()
    async with gate(network, pending_frames=50) as running:
        waiting = [running.submit(frames(BATCH_FRAMES), first_state())]
        await asyncio.sleep(0.05)  # the thread has taken them
        waiting += [running.submit(frames(40), first_state()) for _ in range(2)]
        with pytest.raises(GateBusy, match="takes 50"):
            running.submit(frames(1), first_state())
        network.free.set()
        await asyncio.gather(*waiting)
        assert running.statistics().waiting_frames == 0


async def test_a_failure_reaches_those_in_the_batch_and_nobody_after() -> None:
    async with gate(Counting()) as running:
        with pytest.raises(GateFailed, match="poisoned"):
            await running.submit(frames(40, 7.0), first_state())
        probabilities, _ = await running.submit(frames(40), first_state())
        assert len(probabilities) == 40
        assert running.statistics().waiting_frames == 0


async def test_a_call_that_went_away_is_not_judged() -> None:
    network = Counting()
    network.free.clear()
    async with gate(network) as running:
        first = running.submit(frames(1), first_state())
        await asyncio.sleep(0.05)
        gone = running.submit(frames(500), first_state())
        gone.cancel()
        network.free.set()
        await first
        await running.submit(frames(1), first_state())
        assert sum(network.batches) == 2
        assert running.statistics().waiting_frames == 0


async def test_what_waits_when_the_gate_stops_ends_by_name() -> None:
    network = Counting()
    network.free.clear()
    running = SpeechGate(network, 1000)
    first = running.submit(frames(1), first_state())
    await asyncio.sleep(0.05)
    second = running.submit(frames(1), first_state())
    threading.Timer(0.1, network.free.set).start()
    await running.stop()
    await first
    with pytest.raises(GateStopped):
        await second
    with pytest.raises(GateStopped):
        running.submit(frames(1), first_state())
