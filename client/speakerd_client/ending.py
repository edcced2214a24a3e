"""How a call really ended.

When a server ends a call while the client still writes, grpc.aio lets the failed write replace
the server's status by an INTERNAL of its own (grpc/grpc#36066). Done callbacks run at every change
of the status, so the one that the server sent is always seen here, before or after the other.

A call that is cancelled, as by the end of its channel, raises CancelledError in the task that waits
for it, as if the task had been cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import grpc.aio

from speakerd_client.status import Status, status_of

T = TypeVar("T")

_WRITE_FAILED = "Internal error from Core"
_TRUTH_LIMIT_S = 1.0


def task_is_cancelled() -> bool:
    """Tell whether this very task was cancelled, not merely a call that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class RpcCall(Protocol):
    """The part of a grpc.aio call that is needed here."""

    def add_done_callback(self, callback: Any, /) -> None:
        """Call back at every change of the status."""


class Ending:
    """Watches one call for its end."""

    def __init__(self, rpc: RpcCall) -> None:
        self._status: Status | None = None
        self._known = asyncio.Event()
        rpc.add_done_callback(self._done)

    async def status(self) -> Status:
        """Wait for the end and give the server's status, or the transport's."""
        while self._status is None:
            await self._known.wait()
        if _is_write_failure(self._status):
            try:
                async with asyncio.timeout(_TRUTH_LIMIT_S):
                    while _is_write_failure(self._status):
                        self._known.clear()
                        await self._known.wait()
            except TimeoutError:
                pass
        return self._status

    def _done(self, rpc: grpc.aio.Call) -> None:
        if self._status is None or _is_write_failure(self._status):
            self._status = status_of(
                _at_once(rpc.code()), _at_once(rpc.details()), _at_once(rpc.trailing_metadata())
            )
            self._known.set()


def _is_write_failure(status: Status) -> bool:
    return status.code == "INTERNAL" and status.message == _WRITE_FAILED and not status.details


def _at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for: the status is known in a done callback."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    coroutine.close()
    raise RuntimeError("the status of a finished call is not known")
