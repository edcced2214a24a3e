"""A server of KServe's protocol over any backend, that can be made slow, absent or wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import numpy as np
from speakerd.kserve import inference_pb2 as pb
from speakerd_server.engine.backend import Backend

MODEL = "speaker_windows"
_OF_SERVERS = ("ServerReady", "ServerMetadata")
_OF_MODELS = ("ModelReady", "ModelMetadata", "ModelConfig", "ModelInfer")
Context = grpc.ServicerContext


class KserveServer:
    """Answers for one model of windows.

    Args:
        backend: Embeds.
        dim: That the metadata tells.
    """

    def __init__(self, backend: Backend, dim: int) -> None:
        self.backend, self.dim = backend, dim
        self.ready = True
        self.most_windows = 0
        self.inputs = {"pcm": "FP32", "rows": "INT64"}
        self.refusals: list[grpc.StatusCode] = []
        """What the next requests for embeddings end with, from the first on."""
        self.gate = threading.Event()
        """While it is not set, requests for embeddings wait."""
        self.gate.set()
        self.wrong: dict[str, Any] = {}
        """What is different in answers: datatype, shape or content."""
        self.asked: list[tuple[int, ...]] = []
        """Shape of pcm of each request for embeddings."""
        self._lock = threading.Lock()

    def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> Any:  # noqa: N802
        return pb.ServerReadyResponse(ready=self.ready)

    def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> Any:  # noqa: N802
        if request.name != MODEL:
            _abort(context, grpc.StatusCode.NOT_FOUND)
        return pb.ModelReadyResponse(ready=self.ready)

    def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> Any:
        return pb.ServerMetadataResponse(name="made-up", version="1")

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> Any:  # noqa: N802
        answer = pb.ModelMetadataResponse(name=request.name)
        for name, kind in self.inputs.items():
            answer.inputs.add(name=name, datatype=kind, shape=[-1, -1])
        answer.outputs.add(name="embeddings", datatype="FP32", shape=[-1, self.dim])
        return answer

    def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> Any:  # noqa: N802
        config = pb.ModelConfig(name=request.name, max_batch_size=self.most_windows)
        return pb.ModelConfigResponse(config=config)

    def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> Any:  # noqa: N802
        shapes = {one.name: tuple(one.shape) for one in request.inputs}
        content = dict(zip(shapes, request.raw_input_contents, strict=True))
        pcm = np.frombuffer(content["pcm"], "<f4").reshape(shapes["pcm"])
        rows = np.frombuffer(content["rows"], "<i8").reshape(shapes["rows"])
        with self._lock:
            self.asked.append(pcm.shape)
            refusal = self.refusals.pop(0) if self.refusals else None
        if refusal is not None:
            _abort(context, refusal)
        self.gate.wait(10)
        try:
            embeddings = self.backend.embed(pcm, rows)
        except ValueError as error:
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
        shape = self.wrong.get("shape", embeddings.shape)
        kind = self.wrong.get("datatype", "FP32")
        answer.outputs.add(name=self.wrong.get("name", "embeddings"), datatype=kind, shape=shape)
        answer.raw_output_contents.append(self.wrong.get("content", embeddings.tobytes()))
        return answer


@contextmanager
def served(server: KserveServer, address: str = "127.0.0.1:0") -> Iterator[str]:
    """Serve at an address until the body ends; gives it with the real port."""
    running = grpc.server(
        ThreadPoolExecutor(16),
        options=[
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", 64 << 20),
        ],
    )
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(server, name),
            request_deserializer=getattr(pb, f"{name}Request").FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name in (*_OF_SERVERS, *_OF_MODELS)
    }
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
    running.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = running.add_insecure_port(address)
    running.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.gate.set()
        running.stop(0).wait()


def _abort(context: Context, code: grpc.StatusCode) -> NoReturn:
    context.abort(code, "made to fail")
