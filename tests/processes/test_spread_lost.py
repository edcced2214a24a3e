from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.errors import EngineLost, EngineQueueFull
from speakerd_server.processes import spread
from speakerd_server.processes.spread import Engines
from speakerd_server.values import Float32
from support.engine_alone import engine_process
from support.shared_ends import NUMBER, until
from support.sounds import DIM, fake_embedding, window
from support.spreading import EVEN, Pair, is_up, soon, spread_over

EMBEDDING = np.ones(DIM, np.float32)
HERE = window(20)


async def test_a_window_that_no_engine_comes_back_for_is_lost_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "PATIENCE_S", 0.05)
    async with spread_over({"one": tmp_path / "one"}, {"one": 1.0}) as engines:
        lost = await soon(engines.submit(NUMBER, HERE, live=True))
        assert isinstance(lost, EngineLost)
        assert lost.name == "one"


async def test_windows_that_a_lost_engine_never_began_go_to_another(pair: Pair) -> None:
    async with spread_over(pair.paths, {"one": 1000.0, "two": 1.0}, pair=pair) as engines:
        futures = [engines.submit(NUMBER, HERE, live=True) for _ in range(4)]
        records = [await pair.one.heard() for _ in range(4)]
        pair.one.slot(records[1]).take(0.0, 1)
        futures[3].cancel()
        pair.one.hang_up()
        for _ in range(2):
            pair.two.embed(await pair.two.heard(), EMBEDDING)
        outcomes = [await soon(future) for future in futures[:3]]
        assert isinstance(outcomes[1], EngineLost)
        assert isinstance(outcomes[0], np.ndarray)
        assert isinstance(outcomes[2], np.ndarray)


async def test_what_the_others_have_no_room_for_is_refused_when_an_engine_is_lost(
    pair: Pair,
) -> None:
    settings = EngineSettings(queue_windows=3)
    async with spread_over(pair.paths, settings=settings, pair=pair) as engines:
        futures = [engines.submit(NUMBER, HERE, live=True) for _ in range(6)]
        pair.one.hang_up()
        ended = [
            future for future in futures if isinstance(await ended_soon(future), EngineQueueFull)
        ]
        assert len(ended) == 3


async def ended_soon(future: asyncio.Future[Float32]) -> BaseException | None:
    await asyncio.wait([future], timeout=0.1)
    return future.exception() if future.done() else None


async def test_no_caller_is_forgotten_when_one_of_two_engine_processes_is_killed(
    tmp_path: Path,
) -> None:
    paths = {name: tmp_path / name for name in EVEN}
    with engine_process(paths["one"], 0.1) as one, engine_process(paths["two"], 0.02):
        async with spread_over(paths) as engines:
            for name in EVEN:
                await is_up(engines, name)
            futures = [engines.submit(NUMBER, window(20, seed), live=True) for seed in range(30)]
            await asyncio.sleep(0.15)
            one.kill()
            outcomes = [await soon(future) for future in futures]
        lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        assert {type(error) for error in lost} == {EngineLost}
        assert len(lost) <= 2
        for seed, outcome in enumerate(outcomes):
            if isinstance(outcome, np.ndarray):
                np.testing.assert_array_equal(outcome, fake_embedding(window(20, seed)))


async def test_nobody_waits_and_no_memory_is_lost_whatever_callers_and_engines_do(
    tmp_path: Path,
) -> None:
    rng = random.Random(11)
    paths = {name: tmp_path / name for name in EVEN}
    futures: list[asyncio.Future[Float32]] = []

    async def call(engines: Engines) -> None:
        for _ in range(25):
            try:
                mine = engines.submit(NUMBER, window(20, rng.randrange(9)), live=True)
            except EngineQueueFull:
                await asyncio.sleep(0.01)
                continue
            futures.append(mine)
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() / 100)
                mine.cancel()
            elif rng.random() < 0.5:
                await asyncio.wait([mine], timeout=rng.random())

    with engine_process(paths["two"], 0.002):
        async with spread_over(paths, settings=EngineSettings(queue_windows=20)) as engines:
            with engine_process(paths["one"], 0.002) as one:
                await is_up(engines, "one")
                calling = [asyncio.create_task(call(engines)) for _ in range(12)]
                await asyncio.sleep(0.05)
                one.kill()
            with engine_process(paths["one"], 0.002):
                await asyncio.gather(*calling)
                _, waiting = await asyncio.wait(futures, timeout=5)
                assert not waiting
            every = engines.connections.values()
            await until(lambda: not any(connection.windows for connection in every))
            for connection in every:
                assert connection._allocator.free_bytes == connection._size_bytes
    ended = [future.exception() for future in futures if not future.cancelled()]
    assert len(ended) < len(futures) - 20
    assert ended.count(None) > 50
    assert {type(error) for error in ended if error} <= {EngineLost, EngineQueueFull}
