from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.engine.fake import FakeBackend
from speakerd_server.errors import Draining, EngineLost, EngineQueueFull
from speakerd_server.processes.spread import LONG_FRAMES, Engines, RemoteEngine
from speakerd_server.processes.windows_shared import CANCEL, SUBMIT, Record
from speakerd_server.values import Window
from support.batching import Gated
from support.shared_ends import NUMBER, BareEngine, ported, until
from support.sounds import DIM, fake_embedding, window
from support.spreading import EVEN, Pair, is_up, soon, spread_over

EMBEDDING = np.ones(DIM, np.float32)
HERE = window(20)


def given(engines: Engines) -> dict[str, int]:
    return {name: one.windows for name, one in engines.connections.items()}


async def test_windows_are_spread_by_the_speed_of_the_engines(pair: Pair) -> None:
    async with spread_over(pair.paths, {"one": 30.0, "two": 10.0}, pair=pair) as engines:
        for _ in range(40):
            engines.submit(NUMBER, HERE, live=True)
        assert given(engines) == {"one": 30, "two": 10}


async def test_windows_of_other_front_ends_count_as_much(pair: Pair) -> None:
    async with spread_over(pair.paths, pair=pair) as engines:
        pair.one.page.write(6, 0.0)
        for _ in range(6):
            engines.submit(NUMBER, HERE, live=True)
        assert given(engines) == {"one": 6, "two": 6}
        assert all([(await pair.two.heard()).kind == SUBMIT for _ in range(6)])


async def test_an_engine_that_is_full_is_passed_over_until_all_are(pair: Pair) -> None:
    settings = EngineSettings(queue_windows=3)
    async with spread_over(pair.paths, {"one": 1000.0, "two": 1.0}, settings, pair=pair) as engines:
        for _ in range(6):
            engines.submit(NUMBER, HERE, live=True)
        assert given(engines) == {"one": 3, "two": 3}
        with pytest.raises(EngineQueueFull) as refused:
            engines.submit(NUMBER, HERE, live=True)
        assert refused.value.limit == 3


async def test_an_engine_that_others_have_filled_up_is_asked_last(pair: Pair) -> None:
    settings = EngineSettings(queue_windows=4)
    async with spread_over(pair.paths, {"one": 1000.0, "two": 1.0}, settings, pair=pair) as engines:
        pair.one.page.write(4, 0.0)
        engines.submit(NUMBER, HERE, live=True)
        assert (await pair.two.heard()).kind == SUBMIT
        pair.two.page.write(4, 0.0)
        engines.submit(NUMBER, HERE, live=True)
        assert (await pair.one.heard()).kind == SUBMIT


async def test_a_model_is_computed_only_where_it_is(pair: Pair) -> None:
    async with spread_over(pair.paths, pair=pair) as engines:
        engines.host(2, {"two": 1.0})
        for _ in range(5):
            engines.submit(2, HERE, live=False)
        assert given(engines) == {"one": 0, "two": 5}
        record = await pair.two.heard()
        assert (record.model, record.live) == (2, False)


async def test_a_model_that_no_engine_has_any_more_is_refused_by_name() -> None:
    engines = Engines({}, EngineSettings())
    with pytest.raises(Draining):
        engines.submit(NUMBER, HERE, live=True)
    engines.host(NUMBER, EVEN)
    engines.forget(NUMBER)
    engines.forget(NUMBER)
    with pytest.raises(Draining):
        engines.submit(NUMBER, HERE, live=True)
    assert engines.waited_s(NUMBER) == 0.0


async def test_windows_wait_while_no_engine_is_there_and_live_ones_go_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one"
    async with spread_over({"one": path}, {"one": 1.0}) as engines:
        futures = [engines.submit(NUMBER, HERE, live=live) for live in (False, True, False, True)]
        futures[1].cancel()
        engine = BareEngine(path)
        await engine.greet()
        lives = []
        for _ in range(3):
            record = await engine.heard()
            lives.append(record.live)
            engine.embed(record, EMBEDDING)
        assert lives == [True, False, False]
        for at in (0, 2, 3):
            np.testing.assert_array_equal(np.asarray(await soon(futures[at])), EMBEDDING)
    engine.close()


async def test_a_window_waits_only_for_an_engine_that_has_its_model(pair: Pair) -> None:
    async with spread_over(pair.paths, {"two": 1.0}) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        await pair.one.greet()
        await is_up(engines, "one")
        assert not future.done()
        await pair.two.greet()
        pair.two.embed(await pair.two.heard(), EMBEDDING)
        assert isinstance(await soon(future), np.ndarray)


async def test_no_more_windows_wait_than_may_and_who_gave_up_takes_no_place(
    tmp_path: Path,
) -> None:
    settings = EngineSettings(queue_windows=3)
    async with spread_over({"one": tmp_path / "one"}, {"one": 1.0}, settings) as engines:
        for _ in range(10):
            futures = [engines.submit(NUMBER, HERE, live=True) for _ in range(3)]
            with pytest.raises(EngineQueueFull):
                engines.submit(NUMBER, HERE, live=True)
            for future in futures:
                future.cancel()
        last = engines.submit(NUMBER, HERE, live=True)
    assert isinstance(await soon(last), EngineLost)


async def test_a_window_that_waited_once_can_be_cancelled_where_it_is(pair: Pair) -> None:
    async with spread_over(pair.paths) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        await pair.greet(engines)
        submitted = await pair.one.heard()
        future.cancel()
        assert await pair.one.heard() == Record(CANCEL, submitted.job)


async def test_calls_are_refused_by_the_engine_that_waits_least(pair: Pair) -> None:
    async with spread_over(pair.paths, pair=pair) as engines:
        pair.one.page.write(1, 7.0)
        assert engines.waited_s(NUMBER) == 0.0
        pair.two.page.write(1, 3.0)
        assert 3.0 <= engines.waited_s(NUMBER) < 7.0
        pair.two.hang_up()
        await until(lambda: not engines.connections["two"].is_up)
        assert engines.waited_s(NUMBER) < 3.0


async def test_a_call_has_its_windows_embedded_as_in_one_process(tmp_path: Path) -> None:
    path = tmp_path / "one"
    windows = [window(frames, frames) for frames in (20, 60, 3)]
    async with (
        ported(path, FakeBackend(DIM)),
        spread_over({"one": path}, {"one": 1.0}) as engines,
    ):
        engine = RemoteEngine(engines, NUMBER)
        assert engine.queue_limit_windows == engines.settings.queue_windows
        assert engine.statistics() == ()
        for one in windows:
            for future in (engine.submit(one), await engine.submit_offline(one)):
                np.testing.assert_array_equal(np.asarray(await soon(future)), fake_embedding(one))
        assert engine.waited_s == 0.0


async def test_windows_of_whole_recordings_wait_with_their_calls_for_room(
    tmp_path: Path,
) -> None:
    path, backend = tmp_path / "one", Gated()
    settings = EngineSettings(offline_windows=2)
    async with ported(path, backend), spread_over({"one": path}, {"one": 1.0}, settings) as engines:
        engine = RemoteEngine(engines, NUMBER)
        given_up = [await engine.submit_offline(HERE) for _ in range(2)]
        third = asyncio.create_task(engine.submit_offline(HERE))
        await asyncio.sleep(0.02)
        assert not third.done()
        live = engine.submit(HERE)
        given_up[1].cancel()
        async with asyncio.timeout(5):
            future = await third
        backend.gate.release(100)
        assert isinstance(await soon(future), np.ndarray)
        assert isinstance(await soon(live), np.ndarray)


async def test_long_windows_of_whole_recordings_go_one_after_the_other(tmp_path: Path) -> None:
    path, backend = tmp_path / "one", Gated()
    frames = LONG_FRAMES + 1
    long = Window(0, np.zeros(160 * (frames - 1) + 400, np.float32), np.arange(frames), 0)
    async with ported(path, backend), spread_over({"one": path}, {"one": 1.0}) as engines:
        engine = RemoteEngine(engines, NUMBER)
        await engine.submit_offline(long)
        waiting = asyncio.create_task(engine.submit_offline(long))
        await engine.submit_offline(HERE)
        assert not waiting.done()
        backend.gate.release(100)
        async with asyncio.timeout(5):
            await (await waiting)
