"""Kinds of request that a closed loop can make: another protocol is another `Asking` in KINDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import grpc.aio
from speakerd.v1.verification_pb2 import VerifyRequest

from speakerd_client.audio import Audio
from speakerd_client.errors import InvalidLoad, InvalidRequest
from speakerd_client.load.channels import closed, connected
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track
from speakerd_client.requests import (
    ModelOptions,
    check_whole,
    embed_request,
    sendable,
    verification_config,
)
from speakerd_client.status import error_from, status_of

ANSWER_S = 120.0
"""Longest wait for the answer to a whole recording."""
_SERVICE = "/speakerd.v1.VerificationService"


class Asking(Protocol):
    """Requests of one kind, made once and sent as often as wanted."""

    async def connect(self, connections: int) -> None:
        """Open so many connections. Raises NotReachable."""

    async def ask(self, number: int) -> float:
        """Make request `number`, from 0, and wait for its answer; gives its seconds of audio.

        Raises:
            SpeakerdError: It failed.
        """

    async def close(self) -> None:
        """Close the connections."""


class UnaryAsking:
    """An `Asking`: one rpc of a speakerd daemon, each track in turn."""

    def __init__(
        self, address: str, method: str, requests: Sequence[bytes], audio_s: Sequence[float]
    ) -> None:
        self._address, self._method = address, method
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
            raise error_from(status, self._address) from error
        return self._audio_s[place]

    async def close(self) -> None:
        """Close the connections."""
        await closed(self._channels)


def _verifying(plan: ClosedPlan, tracks: Sequence[Track]) -> Asking:
    def request(audio: Audio) -> VerifyRequest:
        config = verification_config(plan.speaker_id, audio.format, **plan.options)
        return VerifyRequest(config=config, audio=audio.content)

    return _unary(plan, tracks, "Verify", request)


def _embedding(plan: ClosedPlan, tracks: Sequence[Track]) -> Asking:
    given = plan.options
    options = ModelOptions(
        model=given.get("model", ""), samples_per_chunk=given.get("samples_per_chunk")
    )
    return _unary(plan, tracks, "Embed", lambda audio: embed_request(audio, **options))


def _unary(
    plan: ClosedPlan, tracks: Sequence[Track], rpc: str, request: Callable[[Audio], Any]
) -> Asking:
    requests = []
    for track in tracks:
        try:
            check_whole(track.audio, advice="cut it into parts")
            with sendable():
                requests.append(request(track.audio).SerializeToString())
        except InvalidRequest as error:
            raise InvalidLoad(f"{track.name}: {error.message}") from error
    lengths_s = [track.audio.duration_s for track in tracks]
    return UnaryAsking(plan.address, f"{_SERVICE}/{rpc}", requests, lengths_s)


KINDS: Mapping[str, Callable[[ClosedPlan, Sequence[Track]], Asking]] = {
    "verify": _verifying,
    "embed": _embedding,
}
"""Makes an `Asking` by the name of its kind. Each raises InvalidLoad for what it cannot send."""
