"""What those who operate a daemon ask and order: methods of AsyncClient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import grpc.aio
from google.protobuf.wrappers_pb2 import Int32Value, StringValue
from speakerd.v1 import admin_pb2, admin_pb2_grpc

from speakerd_client import admin_convert
from speakerd_client.admin_records import DrainState, LiveSessions, Model, ModelLoad, ServerInfo
from speakerd_client.ending import task_is_cancelled
from speakerd_client.errors import CallEnded, TooSlow
from speakerd_client.records import Health
from speakerd_client.requests import duration, sendable
from speakerd_client.status import error_from, status_of

_INTERVAL_S = 1.0
"""Of watch_sessions where it is given none."""


class Administers(Protocol):
    """The part of AsyncClient that is needed here."""

    address: str
    timeout_s: float
    _watches: set[Any]

    @property
    def _channel(self) -> grpc.aio.Channel:
        """The connection."""

    @property
    def _admin(self) -> admin_pb2_grpc.AdminServiceAsyncStub:
        """The service."""

    async def _unary(self, method: Any, request: Any, *, longer_s: float = 0.0) -> Any:
        """Make one unary call, that may take so much longer than timeout_s."""


async def health(client: Administers) -> Health:
    """Ask grpc.health.v1 whether the daemon takes calls.

    Its two messages have one field each, so a wrapper type with the same field number and wire type
    stands for them and spares the client a distribution more.
    """
    check = client._channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=Int32Value.FromString,
    )
    answer = await client._unary(check, StringValue())
    return {1: Health.SERVING, 2: Health.NOT_SERVING}.get(answer.value, Health.OTHER)


async def server_info(client: Administers) -> ServerInfo:
    """Say what the daemon is and how it does."""
    request = admin_pb2.GetServerInfoRequest()
    return admin_convert.server_info(await client._unary(client._admin.GetServerInfo, request))


async def list_models(client: Administers) -> tuple[Model, ...]:
    """Give the daemon's models by name and version: where each stands, and how it does."""
    request = admin_pb2.ListModelsRequest()
    response = await client._unary(client._admin.ListModels, request)
    return tuple(admin_convert.model(each) for each in response.models)


async def load_model(
    client: Administers, model: str, *, device: str = "", make_default: bool = False
) -> ModelLoad:
    """Load a model and warm it up; calls can name it when this returns.

    A model that is loaded already stays as it is. The daemon goes on loading when this is broken
    off, or takes longer than the client's timeout_s.

    Args:
        client: Whom to tell.
        model: As "name" or "name/version"; without a version the newest one there is.
        device: Such as "cpu" or "gpu:0"; empty: as the daemon's settings say.
        make_default: Let calls that name no model, and those that give its name alone, mean it.

    Raises:
        NotFound: There is no such model; the message says which ones there are.
        NotPossible: It is damaged, does not embed, or does not fit the device.
        SpeakerdError: As every call.
    """
    with sendable():
        request = admin_pb2.LoadModelRequest(model=model, device=device, make_default=make_default)
    return admin_convert.model_load(await client._unary(client._admin.LoadModel, request))


async def unload_model(client: Administers, model: str) -> Model:
    """Let no new call name a model, and give its memory back once no call holds it.

    Gives the model, UNLOADED, or UNLOADING while calls hold it.

    Args:
        client: Whom to tell.
        model: As "name" or "name/version", of a loaded model.

    Raises:
        NotFound: No such model is loaded.
        NotPossible: It is the default model.
        SpeakerdError: As every call.
    """
    with sendable():
        request = admin_pb2.UnloadModelRequest(model=model)
    response = await client._unary(client._admin.UnloadModel, request)
    return admin_convert.model(response.model)


async def drain(client: Administers, *, wait_s: float | None = None) -> DrainState:
    """Take the daemon out of service: new calls are refused, those that go on finish.

    The daemon keeps running, and `resume` takes it back into service.

    Args:
        client: Whom to tell.
        wait_s: Return only when no call goes on any more, or after so long, up to an hour; None:
            at once.
    """
    with sendable():
        request = admin_pb2.DrainRequest(wait=duration(wait_s))
    response = await client._unary(client._admin.Drain, request, longer_s=max(0.0, wait_s or 0.0))
    return admin_convert.drain_state(response)


async def resume(client: Administers) -> DrainState:
    """Take the daemon back into service after `drain`.

    Raises:
        Unavailable: The daemon is about to stop.
        SpeakerdError: As every call.
    """
    response = await client._unary(client._admin.Drain, admin_pb2.DrainRequest(resume=True))
    return admin_convert.drain_state(response)


async def watch_sessions(
    client: Administers, *, domain: str = "", interval_s: float | None = None
) -> AsyncGenerator[LiveSessions, None]:
    """Give the live calls that go on, at once and then again and again until the loop is left.

    Args:
        client: Whom to ask.
        domain: Only calls of this set of speakers; empty: of all.
        interval_s: Time between two answers, 0.1 to 60; None: 1.

    Raises:
        NotReachable: The daemon has gone, with the reason CONNECTION_LOST.
        TooSlow: It said nothing for the interval and timeout_s.
        CallEnded: This client was closed.
        SpeakerdError: As every call.
    """
    with sendable():
        request = admin_pb2.WatchSessionsRequest(domain=domain, interval=duration(interval_s))
    limit_s = client.timeout_s + max(0.0, _INTERVAL_S if interval_s is None else interval_s)
    call = client._admin.WatchSessions(request)
    answered = False
    client._watches.add(call)
    try:
        while (answer := await _next(client, call, limit_s, answered)) is not grpc.aio.EOF:
            answered = True
            yield admin_convert.live_sessions(answer)
    finally:
        client._watches.discard(call)
        call.cancel()


async def _next(client: Administers, call: Any, limit_s: float, answered: bool) -> Any:
    """Take one answer, or EOF."""
    try:
        async with asyncio.timeout(limit_s):
            return await call.read()
    except TimeoutError as error:
        message = f"the daemon at {client.address} said nothing for {limit_s:g} s"
        raise TooSlow(message) from error
    except grpc.aio.AioRpcError as error:
        trailers = tuple(error.trailing_metadata() or ())
        status = status_of(error.code(), error.details(), trailers)
        raise error_from(status, client.address, answered=answered) from error
    except asyncio.CancelledError:
        if task_is_cancelled():
            raise
        raise CallEnded("this client was closed") from None
