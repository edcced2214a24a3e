"""A closed loop's requests to anything that speaks KServe's inference protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from speakerd_client.errors import InvalidLoad, InvalidRequest
from speakerd_client.load.http_connection import HttpConnection
from speakerd_client.load.kserve import (
    FORMAT,
    SERVICE,
    grpc_error,
    grpc_inference,
    http_error,
    http_inference,
)
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track
from speakerd_client.load.unary import ANSWER_S, UnaryAsking
from speakerd_client.requests import check_whole


class HttpAsking:
    """An `Asking` over HTTP: as many connections as there are requests at once."""

    def __init__(self, address: str, requests: Sequence[bytes], audio_s: Sequence[float]) -> None:
        self._address, self._requests, self._audio_s = address, requests, audio_s
        self._free: list[HttpConnection] = []
        self._all: list[HttpConnection] = []

    async def connect(self, connections: int) -> None:
        """Open so many connections. Raises NotReachable; none is left open then."""
        self._all = [HttpConnection(self._address, ANSWER_S) for _ in range(connections)]
        self._free = list(self._all)
        opened = await asyncio.gather(*(each.open() for each in self._all), return_exceptions=True)
        failures = [each for each in opened if each is not None]
        if failures:
            await self.close()
            raise failures[0]

    async def ask(self, number: int) -> float:
        """Make request `number` and wait for its answer; gives its seconds of audio."""
        place = number % len(self._requests)
        connection = self._free.pop()
        try:
            answer = await connection.ask(self._requests[place])
        finally:
            self._free.append(connection)
        if answer.head.status != 200:
            raise http_error(answer)
        return self._audio_s[place]

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._all:
            connection.close()


def asking_over_grpc(plan: ClosedPlan, tracks: Sequence[Track]) -> UnaryAsking:
    """Make an `Asking` of ModelInfer. Raises InvalidLoad for what cannot be sent."""
    _check(tracks)
    model = plan.options.get("model", "")
    requests = [grpc_inference(model, track.audio).SerializeToString() for track in tracks]
    return UnaryAsking(
        plan.address, f"{SERVICE}/ModelInfer", requests, _lengths_s(tracks), grpc_error
    )


def asking_over_http(plan: ClosedPlan, tracks: Sequence[Track]) -> HttpAsking:
    """Make an `Asking` of POST .../infer. Raises InvalidLoad for what cannot be sent."""
    _check(tracks)
    model = plan.options.get("model", "")
    requests = [http_inference(plan.address, model, track.audio) for track in tracks]
    return HttpAsking(plan.address, requests, _lengths_s(tracks))


def _check(tracks: Sequence[Track]) -> None:
    for track in tracks:
        if track.audio.format != FORMAT:
            raise InvalidLoad(f"{track.name}: KServe's requests carry float32le at 16000 Hz")
        try:
            check_whole(track.audio, advice="cut it into parts")
        except InvalidRequest as error:
            raise InvalidLoad(f"{track.name}: {error.message}") from error


def _lengths_s(tracks: Sequence[Track]) -> list[float]:
    return [track.audio.duration_s for track in tracks]
