"""How many windows of whole recordings may be with the engine at once."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable

from speakerd_server.values import Float32


class OfflineRoom:
    """Lets windows of whole recordings in, one after the other; the others wait with their calls.

    Args:
        windows: That may be inside at once.
        long_windows: Of those longer than a batch, which take a worker for long; they never hold
            the room of others while they wait for their own.
    """

    def __init__(self, windows: int, long_windows: int) -> None:
        self._room = asyncio.Semaphore(windows)
        self._long_room = asyncio.Semaphore(max(1, long_windows))

    async def submitted(
        self, is_long: bool, submit: Callable[[], asyncio.Future[Float32]]
    ) -> asyncio.Future[Float32]:
        """Wait for room, submit, and give the future, whose end makes room again.

        Raises what `submit` raises, and then takes no room.
        """
        rooms = (self._long_room, self._room) if is_long else (self._room,)
        taken: list[asyncio.Semaphore] = []
        try:
            for room in rooms:
                await room.acquire()
                taken.append(room)
            future = submit()
        except BaseException:
            for room in taken:
                room.release()
            raise
        for room in taken:
            future.add_done_callback(functools.partial(_leave, room))
        return future


def _leave(room: asyncio.Semaphore, _embedding: asyncio.Future[Float32]) -> None:
    room.release()
