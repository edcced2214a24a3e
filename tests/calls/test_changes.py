from __future__ import annotations

import asyncio

import pytest
from speakerd_server.calls.changes import LIMIT, Changes
from speakerd_server.errors import ModelsBusy


async def test_changes_go_one_after_the_other_in_the_order_in_which_they_came() -> None:
    changes, done = Changes(asyncio.Lock()), []

    async def change(number: int) -> None:
        async with changes.turn():
            done.append(number)
            await asyncio.sleep(0)
            done.append(number)

    await asyncio.gather(*map(change, range(LIMIT)))
    assert done == [number for number in range(LIMIT) for _ in range(2)]


async def test_one_more_than_may_wait_is_refused_at_once_and_holds_no_place() -> None:
    changes, end = Changes(asyncio.Lock()), asyncio.Event()

    async def change() -> None:
        async with changes.turn():
            await end.wait()

    waiting = [asyncio.create_task(change()) for _ in range(LIMIT)]
    await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(ModelsBusy) as refused:
            await change()
        assert refused.value.limit == LIMIT
    end.set()
    await asyncio.gather(*waiting)
    await change()


async def test_a_change_that_fails_or_is_given_up_makes_room_again() -> None:
    lock = asyncio.Lock()
    changes = Changes(lock)
    for _ in range(2 * LIMIT):
        with pytest.raises(ValueError, match="no"):
            async with changes.turn():
                raise ValueError("no")
    async with lock:
        for _ in range(2 * LIMIT):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0), changes.turn():
                    raise AssertionError("it is another's turn")
    async with changes.turn():
        assert lock.locked()
