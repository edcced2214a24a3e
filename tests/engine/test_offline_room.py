from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speakerd_server.engine.offline_room import OfflineRoom
from speakerd_server.errors import EngineQueueFull
from speakerd_server.values import Float32

Future = asyncio.Future[Float32]


class Engine:
    """Remembers what is inside."""

    def __init__(self, room: OfflineRoom) -> None:
        self._room = room
        self.inside: list[Future] = []
        self.most = 0

    def enter(self, *, is_long: bool = False) -> asyncio.Task[Future]:
        return asyncio.ensure_future(self._room.submitted(is_long, self._submit))

    def _submit(self) -> Future:
        future: Future = asyncio.get_running_loop().create_future()
        self.inside.append(future)
        self.most = max(self.most, sum(not one.done() for one in self.inside))
        return future


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_more_are_inside_than_may_and_the_first_in_line_goes_next() -> None:
    engine = Engine(OfflineRoom(2, 1))
    waiting = [engine.enter() for _ in range(4)]
    await settle()
    assert [one.done() for one in waiting] == [True, True, False, False]
    engine.inside[1].cancel()
    await settle()
    assert [one.done() for one in waiting] == [True, True, True, False]
    for future in engine.inside:
        future.cancel()
    await waiting[3]


@pytest.mark.parametrize("how", ["result", "error", "cancelled"])
async def test_however_an_embedding_ends_there_is_room_again(how: str) -> None:
    engine = Engine(OfflineRoom(1, 1))
    future = await engine.enter()
    after = engine.enter()
    await settle()
    assert not after.done()
    if how == "result":
        future.set_result([])  # type: ignore[arg-type]
    elif how == "error":
        future.set_exception(ValueError("poisoned"))
        assert isinstance(future.exception(), ValueError)
    else:
        future.cancel()
    await after


async def test_what_is_refused_takes_no_room() -> None:
    room = OfflineRoom(1, 1)

    def refuse() -> Future:
        raise EngineQueueFull(1)

    for is_long in (True, False, True):
        with pytest.raises(EngineQueueFull):
            await room.submitted(is_long, refuse)
    engine = Engine(room)
    await engine.enter(is_long=True)


async def test_a_call_that_goes_away_while_it_waits_leaves_its_place_in_line() -> None:
    engine = Engine(OfflineRoom(2, 1))
    first, second = await engine.enter(is_long=True), await engine.enter()
    gone, behind = engine.enter(is_long=True), engine.enter()
    await settle()
    gone.cancel()
    await asyncio.wait([gone])
    first.cancel()
    second.cancel()
    await behind
    await engine.enter(is_long=True)
    assert len(engine.inside) == 4


async def test_long_windows_wait_for_their_own_room_and_hold_no_other() -> None:
    engine = Engine(OfflineRoom(3, 1))
    long = [engine.enter(is_long=True) for _ in range(3)]
    short = [engine.enter() for _ in range(2)]
    await settle()
    assert [one.done() for one in long] == [True, False, False]
    assert all(one.done() for one in short)
    assert len(engine.inside) == 3


async def test_one_long_window_may_always_be_inside() -> None:
    engine = Engine(OfflineRoom(2, 0))
    await engine.enter(is_long=True)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12),
)
def test_everyone_gets_in_and_never_more_than_may(
    windows: int, long_windows: int, callers: list[tuple[bool, bool]]
) -> None:
    async def run() -> Engine:
        engine = Engine(OfflineRoom(windows, long_windows))

        async def call(is_long: bool, goes_away: bool) -> None:
            entering = engine.enter(is_long=is_long)
            if goes_away:
                entering.cancel()
                await asyncio.wait([entering])
                return
            future = await entering
            await asyncio.sleep(0)
            future.cancel()

        async with asyncio.timeout(5):
            await asyncio.gather(*(call(*caller) for caller in callers))
        return engine

    engine = asyncio.run(run())
    assert engine.most <= windows
    assert len(engine.inside) == sum(not goes_away for _, goes_away in callers)
