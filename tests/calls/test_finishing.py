from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from speakerd_server.calls.finishing import finished


async def failing() -> None:
    raise ValueError("no")


async def test_work_is_answered_and_its_failure_raised() -> None:
    assert await finished(asyncio.sleep(0, 7)) == 7
    with pytest.raises(ValueError, match="no"):
        await finished(failing())


async def test_work_goes_on_when_who_asked_is_gone_and_its_failure_is_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    goes_on, was_done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await goes_on.wait()
        was_done.set()
        await failing()

    asking = asyncio.create_task(finished(work()))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    goes_on.set()
    await asyncio.wait_for(was_done.wait(), 5)
    await asyncio.sleep(0.01)
    del asking
    gc.collect()
    assert complaints == []
