"""GRPCInferenceService: KServe's inference protocol, version 2, over the engine of all calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from speakerd.kserve import inference_pb2 as pb
from speakerd.kserve import inference_pb2_grpc

from speakerd_server.calls.inference import Inference
from speakerd_server.errors import FieldInvalid, SpeakerdError, TooManyStreams
from speakerd_server.wire import edge, kserve_convert
from speakerd_server.wire.status import status_of

_STREAM_REQUESTS = 16
"""Of one stream that are worked on at once; it is not read further meanwhile."""
T = TypeVar("T")


class InferenceService(inference_pb2_grpc.GRPCInferenceServiceServicer):
    """Translates between the wire and inference."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        self._streams = 0

    async def ServerLive(  # noqa: N802
        self, request: pb.ServerLiveRequest, context: edge.Context
    ) -> pb.ServerLiveResponse:
        """Tell that the process answers."""
        return pb.ServerLiveResponse(live=self._inference.live())

    async def ServerReady(  # noqa: N802
        self, request: pb.ServerReadyRequest, context: edge.Context
    ) -> pb.ServerReadyResponse:
        """Tell whether calls are taken."""
        return pb.ServerReadyResponse(ready=self._inference.ready())

    async def ModelReady(  # noqa: N802
        self, request: pb.ModelReadyRequest, context: edge.Context
    ) -> pb.ModelReadyResponse:
        """Tell whether a model can be named."""
        ready = self._inference.model_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=ready)

    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: edge.Context
    ) -> pb.ServerMetadataResponse:
        """Say what the server is."""
        found = self._inference.server_metadata()
        return pb.ServerMetadataResponse(
            name=found.name, version=found.version, extensions=found.extensions
        )

    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: edge.Context
    ) -> pb.ModelMetadataResponse:
        """Say what a model takes and gives."""

        async def work() -> pb.ModelMetadataResponse:
            found = self._inference.metadata(request.name, request.version)
            return kserve_convert.metadata(found)

        return await _answered(context, "ModelMetadata", work)

    async def ModelConfig(  # noqa: N802
        self, request: pb.ModelConfigRequest, context: edge.Context
    ) -> pb.ModelConfigResponse:
        """Give a model's configuration."""

        async def work() -> pb.ModelConfigResponse:
            found = await self._inference.config(request.name, request.version)
            return kserve_convert.config(found)

        return await _answered(context, "ModelConfig", work)

    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: edge.Context
    ) -> pb.ModelStatisticsResponse:
        """Count what was inferred."""

        async def work() -> pb.ModelStatisticsResponse:
            found = self._inference.statistics(request.name, request.version)
            return pb.ModelStatisticsResponse(model_stats=map(kserve_convert.statistics, found))

        return await _answered(context, "ModelStatistics", work)

    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: edge.Context
    ) -> pb.RepositoryIndexResponse:
        """List the models."""

        async def work() -> pb.RepositoryIndexResponse:
            found = await self._inference.index(ready=request.ready)
            index = pb.RepositoryIndexResponse.ModelIndex
            return pb.RepositoryIndexResponse(
                models=[
                    index(name=one.name, version=one.version, state=one.state, reason=one.reason)
                    for one in found
                ]
            )

        return await _answered(context, "RepositoryIndex", work)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: edge.Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a bundle."""

        async def work() -> pb.RepositoryModelLoadResponse:
            given = bool(request.parameters)
            await self._inference.load(request.model_name, with_parameters=given)
            return pb.RepositoryModelLoadResponse()

        return await _answered(context, "RepositoryModelLoad", work)

    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: edge.Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a bundle."""

        async def work() -> pb.RepositoryModelUnloadResponse:
            await self._inference.unload(request.model_name)
            return pb.RepositoryModelUnloadResponse()

        return await _answered(context, "RepositoryModelUnload", work)

    async def ModelInfer(  # noqa: N802
        self, request: pb.ModelInferRequest, context: edge.Context
    ) -> pb.ModelInferResponse:
        """Embed."""
        return await edge.answered(context, "ModelInfer", lambda call: self._infer(request, call))

    async def _infer(self, request: pb.ModelInferRequest, call: edge.Call) -> pb.ModelInferResponse:
        # Any id is echoed; one that can stand in a log is there as well.
        with suppress(FieldInvalid):
            call.named(request.id)
        return kserve_convert.reply(await self._inference.infer(kserve_convert.request(request)))

    async def ModelStreamInfer(  # type: ignore[override] # noqa: N802 - answers by context.write
        self, request_iterator: AsyncIterator[pb.ModelInferRequest], context: edge.Context
    ) -> None:
        """Embed request after request."""
        await edge.answered(
            context, "ModelStreamInfer", lambda call: self._stream(request_iterator, call)
        )

    async def _stream(self, requests: AsyncIterator[pb.ModelInferRequest], call: edge.Call) -> None:
        limits = self._inference.serving.settings
        if self._streams >= limits.maximum_streams:
            raise TooManyStreams(limits.maximum_streams)
        self._streams += 1
        answers: _Answers = asyncio.Queue(_STREAM_REQUESTS)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read(requests, call, answers, group))
                while (answer := await answers.get()) is not None:
                    await call.write(await answer, limits.write_timeout_s)
        except* SpeakerdError as errors:
            raise errors.exceptions[0] from None
        finally:
            self._streams -= 1

    async def _read(
        self,
        requests: AsyncIterator[pb.ModelInferRequest],
        call: edge.Call,
        answers: _Answers,
        group: asyncio.TaskGroup,
    ) -> None:
        async for request in requests:
            await answers.put(group.create_task(self._stream_answer(request, call)))
        await answers.put(None)

    async def _stream_answer(
        self, request: pb.ModelInferRequest, stream: edge.Call
    ) -> pb.ModelStreamInferResponse:
        call = edge.Call(stream.context, stream.rpc)
        try:
            answer = await self._infer(request, call)
        except SpeakerdError as error:
            call.note(error)
            answer = pb.ModelInferResponse(id=request.id)
            message = status_of(error).message
            return pb.ModelStreamInferResponse(error_message=message, infer_response=answer)
        answer.parameters["triton_final_response"].bool_param = True
        return pb.ModelStreamInferResponse(infer_response=answer)


_Answers = asyncio.Queue[asyncio.Task[pb.ModelStreamInferResponse] | None]


async def _answered(context: edge.Context, rpc: str, work: Callable[[], Awaitable[T]]) -> T:
    return await edge.answered(context, rpc, lambda _: work())
