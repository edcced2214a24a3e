"""One rpc of a gRPC server as a kind of request: the same messages again and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc.aio

from speakerd_client.errors import SpeakerdError
from speakerd_client.load.channels import closed, connected
from speakerd_client.status import Status, error_from, status_of

ANSWER_S = 120.0
"""Longest wait for the answer to a whole recording."""
Named = Callable[[Status, str], SpeakerdError]
"""From how a call ended, and the address, to what is raised."""


class UnaryAsking:
    """An `Asking`: one rpc, each track in turn."""

    def __init__(
        self,
        address: str,
        method: str,
        requests: Sequence[bytes],
        audio_s: Sequence[float],
        named: Named = error_from,
    ) -> None:
        self._address, self._method, self._named = address, method, named
        self._requests, self._audio_s = requests, audio_s
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[Any] = []

    async def connect(self, connections: int) -> None:
        """Open so many connections. Raises NotReachable."""
        self._channels = await connected(self._address, connections)
        self._calls = [channel.unary_unary(self._method) for channel in self._channels]

    async def ask(self, number: int) -> float:
        """Make request `number` and wait for its answer; gives its seconds of audio."""
        call = self._calls[number % len(self._calls)]
        place = number % len(self._requests)
        try:
            await call(self._requests[place], timeout=ANSWER_S)
        except grpc.aio.AioRpcError as error:
            trailers = tuple(error.trailing_metadata() or ())
            status = status_of(error.code(), error.details(), trailers)
            raise self._named(status, self._address) from error
        return self._audio_s[place]

    async def close(self) -> None:
        """Close the connections."""
        await closed(self._channels)
