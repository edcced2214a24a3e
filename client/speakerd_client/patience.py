"""Trying again where the daemon says that it helps, for a bounded time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from speakerd_client.errors import Exhausted, NotReachable, Unavailable

T = TypeVar("T")

BUSY_LIMIT_S = 120.0
"""Longest wait, over all tries, for a daemon that has no room."""
LOST_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Waits for a daemon that is gone, such as for its restart; after the last one it is given up."""
_LONGEST_PAUSE_S = 10.0


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Attempt until it succeeds, or fails in a way that waiting does not mend.

    A daemon without room says after how long to try again: that is waited for, half as long again
    at every further try, with jitter. Everything but Exhausted and Unavailable is raised at once.
    """
    waited_s, busy_tries, lost_tries = 0.0, 0, 0
    while True:
        try:
            return await attempt()
        except Exhausted as error:
            if error.retry_after_s is None or waited_s >= BUSY_LIMIT_S:
                raise
            pause_s = min(error.retry_after_s * 1.5**busy_tries, _LONGEST_PAUSE_S)
            pause_s *= 1 + random.random() / 2
            busy_tries += 1
            waited_s += pause_s
        except Unavailable as error:
            final = error.retry_after_s is None and not isinstance(error, NotReachable)
            if final or lost_tries == len(LOST_PAUSES_S):
                raise
            pause_s = LOST_PAUSES_S[lost_tries]
            lost_tries += 1
        await asyncio.sleep(pause_s)
