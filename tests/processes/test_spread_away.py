"""Windows spread over engines whose devices are elsewhere and go away."""

from __future__ import annotations

import asyncio

import numpy as np
from speakerd_server.engine.engine_settings import EngineSettings
from speakerd_server.errors import BatchFailed, EngineQueueFull, RemoteEngineUnavailable
from support.shared_ends import NUMBER
from support.sounds import DIM, window
from support.spreading import EVEN, Pair, soon, spread_over

EMBEDDING = np.ones(DIM, np.float32)
HERE = window(20)
AWAY = RemoteEngineUnavailable("there:8001", "UNAVAILABLE: gone")
FAST_AND_SLOW = {"one": 1000.0, "two": 1.0}


async def test_an_engine_whose_device_is_away_is_given_nothing_while_another_is_there(
    pair: Pair,
) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        pair.one.page.write(0, 0.0, is_away=True)
        for _ in range(5):
            engines.submit(NUMBER, HERE, live=True)
        assert [one.windows for one in engines.connections.values()] == [0, 5]
        pair.one.page.write(0, 0.0)
        engines.submit(NUMBER, HERE, live=True)
        assert [one.windows for one in engines.connections.values()] == [1, 5]


async def test_where_all_are_away_a_window_is_refused_by_who_has_it(pair: Pair) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        for end in (pair.one, pair.two):
            end.page.write(0, 0.0, is_away=True)
        future = engines.submit(NUMBER, HERE, live=True)
        pair.one.refuse(await pair.one.heard(), AWAY)
        refused = await soon(future)
        assert isinstance(refused, RemoteEngineUnavailable)
        assert refused.cause == AWAY.cause


async def test_what_an_absent_device_did_not_embed_is_embedded_by_another(pair: Pair) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        # It need not be known to be away yet.
        pair.one.refuse(await pair.one.heard(), AWAY)
        pair.two.embed(await pair.two.heard(), EMBEDDING)
        np.testing.assert_array_equal(np.asarray(await soon(future)), EMBEDDING)
        assert [one.windows for one in engines.connections.values()] == [0, 0]


async def test_a_window_is_given_to_a_second_engine_and_to_no_third(pair: Pair) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        pair.one.refuse(await pair.one.heard(), AWAY)
        pair.two.refuse(await pair.two.heard(), RemoteEngineUnavailable("here", "gone too"))
        refused = await soon(future)
        assert isinstance(refused, RemoteEngineUnavailable)
        assert refused.cause == "gone too"


async def test_the_only_engine_with_the_model_is_not_asked_twice(pair: Pair) -> None:
    async with spread_over(pair.paths, pair=pair) as engines:
        engines.host(2, {"one": 1.0})
        future = engines.submit(2, HERE, live=True)
        pair.one.refuse(await pair.one.heard(), AWAY)
        assert isinstance(await soon(future), RemoteEngineUnavailable)


async def test_a_window_that_failed_for_itself_goes_nowhere_else(pair: Pair) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        pair.one.refuse(await pair.one.heard(), BatchFailed("poisoned"))
        assert isinstance(await soon(future), BatchFailed)


async def test_a_window_that_nobody_waits_for_any_more_is_not_given_away(pair: Pair) -> None:
    async with spread_over(pair.paths, FAST_AND_SLOW, pair=pair) as engines:
        future = engines.submit(NUMBER, HERE, live=True)
        record = await pair.one.heard()
        future.cancel()
        pair.one.refuse(record, AWAY)
        await asyncio.sleep(0.05)
        assert [one.windows for one in engines.connections.values()] == [0, 0]


async def test_where_the_other_is_full_the_window_is_refused_so(pair: Pair) -> None:
    settings = EngineSettings(queue_windows=1)
    async with spread_over(pair.paths, EVEN, settings, pair=pair) as engines:
        first, second = (engines.submit(NUMBER, HERE, live=True) for _ in range(2))
        pair.one.refuse(await pair.one.heard(), AWAY)
        outcome = await soon(first)
        assert isinstance(outcome, EngineQueueFull)
        pair.two.embed(await pair.two.heard(), EMBEDDING)
        np.testing.assert_array_equal(np.asarray(await soon(second)), EMBEDDING)
