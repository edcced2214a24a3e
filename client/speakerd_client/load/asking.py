"""Kinds of request that a closed loop can make: another protocol is another `Asking` in KINDS."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from speakerd.v1.verification_pb2 import VerifyRequest

from speakerd_client.audio import Audio
from speakerd_client.call_options import ModelOptions
from speakerd_client.errors import InvalidLoad, InvalidRequest
from speakerd_client.load import kserve
from speakerd_client.load.kserve_asking import asking_over_grpc, asking_over_http
from speakerd_client.load.plan import ClosedPlan
from speakerd_client.load.sound import Track
from speakerd_client.load.unary import UnaryAsking
from speakerd_client.requests import (
    check_whole,
    embed_request,
    sendable,
    verification_config,
)

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
    kserve.GRPC: asking_over_grpc,
    kserve.HTTP: asking_over_http,
}
"""Makes an `Asking` by the name of its kind. Each raises InvalidLoad for what it cannot send."""
