"""Work that is finished though whoever asked for it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def finished(work: Coroutine[Any, Any, T]) -> T:
    """Give what the work does, or raise what it raises; cancelled, let it go on alone."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_seen)
    return await asyncio.shield(task)


def _seen(task: asyncio.Future[T]) -> None:
    """Keep asyncio from complaining of a failure that nobody is there to be told of."""
    if not task.cancelled():
        task.exception()
