"""AdminService: what this daemon is and how it does, its models, its calls, its drain."""

from __future__ import annotations

import asyncio
import time

from speakerd.v1 import admin_pb2 as pb
from speakerd.v1 import admin_pb2_grpc

from speakerd_server.calls.administration import Administration
from speakerd_server.calls.serving import Serving
from speakerd_server.errors import FieldInvalid
from speakerd_server.wire import admin_convert, convert, edge

_LONGEST_WAIT_S = 3600.0
_INTERVALS_S = (0.1, 60.0)


class AdminService(admin_pb2_grpc.AdminServiceServicer):
    """Tells operators about the daemon, and does what they order."""

    def __init__(self, serving: Serving, administration: Administration) -> None:
        self._serving = serving
        self._administration = administration

    async def GetServerInfo(  # noqa: N802
        self, request: pb.GetServerInfoRequest, context: edge.Context
    ) -> pb.GetServerInfoResponse:
        """Tell what this daemon is."""
        return await edge.answered(context, "GetServerInfo", lambda _: self._info())

    async def _info(self) -> pb.GetServerInfoResponse:
        return admin_convert.server_info(await self._administration.server())

    async def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, context: edge.Context
    ) -> pb.ListModelsResponse:
        """List the loaded models."""
        return await edge.answered(context, "ListModels", lambda _: self._models())

    async def _models(self) -> pb.ListModelsResponse:
        states = await self._administration.models()
        return pb.ListModelsResponse(models=[admin_convert.model(state) for state in states])

    async def LoadModel(  # noqa: N802
        self, request: pb.LoadModelRequest, context: edge.Context
    ) -> pb.LoadModelResponse:
        """Load a model; calls can name it once it is warm."""
        return await edge.answered(context, "LoadModel", lambda _: self._load(request))

    async def _load(self, request: pb.LoadModelRequest) -> pb.LoadModelResponse:
        _check_reference(request.model)
        state = await self._administration.load_model(
            request.model, request.device, make_default=request.make_default
        )
        took = convert.duration_of_seconds(state.load_s)
        return pb.LoadModelResponse(model=admin_convert.model(state), load_time=took)

    async def UnloadModel(  # noqa: N802
        self, request: pb.UnloadModelRequest, context: edge.Context
    ) -> pb.UnloadModelResponse:
        """Let no new call name a model."""
        return await edge.answered(context, "UnloadModel", lambda _: self._unload(request))

    async def _unload(self, request: pb.UnloadModelRequest) -> pb.UnloadModelResponse:
        _check_reference(request.model)
        state = await self._administration.unload_model(request.model)
        return pb.UnloadModelResponse(model=admin_convert.model(state))

    async def WatchSessions(  # type: ignore[override] # noqa: N802 - answers by context.write
        self, request: pb.WatchSessionsRequest, context: edge.Context
    ) -> None:
        """Tell which live calls go on, again and again."""
        await edge.answered(context, "WatchSessions", lambda call: self._watch(request, call))

    async def _watch(self, request: pb.WatchSessionsRequest, call: edge.Call) -> None:
        domain = self._serving.domain(request.domain) if request.domain else None
        interval_s = 1.0
        if request.HasField("interval"):
            interval_s = convert.seconds(request.interval, "interval", *_INTERVALS_S)
        while True:
            sessions = await self._administration.sessions()
            wanted = [one for one in sessions if domain in (None, one.domain)]
            answer = pb.WatchSessionsResponse(
                time=convert.timestamp(time.time()),
                sessions=[admin_convert.session(one) for one in wanted],
            )
            await call.write(answer, self._serving.settings.write_timeout_s)
            await asyncio.sleep(interval_s)

    async def Drain(  # noqa: N802
        self, request: pb.DrainRequest, context: edge.Context
    ) -> pb.DrainResponse:
        """Take the daemon out of service, or back into it."""
        return await edge.answered(context, "Drain", lambda _: self._drain(request))

    async def _drain(self, request: pb.DrainRequest) -> pb.DrainResponse:
        wait_s = 0.0
        if request.HasField("wait"):
            wait_s = convert.seconds(request.wait, "wait", 0, _LONGEST_WAIT_S)
        open_calls = await self._administration.drain(resume=request.resume, wait_s=wait_s)
        # While it waited, another order may have come.
        draining = self._serving.places.draining
        return pb.DrainResponse(draining=draining, open_calls=open_calls)


def _check_reference(name: str) -> None:
    """Refuse what can name no model by FieldInvalid."""
    if not name:
        raise FieldInvalid("model", "must be set: NAME or NAME/VERSION")
    if len(name) > edge.MAXIMUM_REQUEST_ID:
        raise FieldInvalid("model", f"has more than {edge.MAXIMUM_REQUEST_ID} characters")
