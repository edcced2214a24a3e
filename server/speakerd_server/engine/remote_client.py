"""One connection to a server of KServe's inference protocol: windows there, embeddings back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import grpc
import numpy as np
from speakerd.kserve import inference_pb2 as pb
from speakerd.kserve.inference_pb2_grpc import GRPCInferenceServiceStub

from speakerd_server.values import Float32, Int64

MESSAGE_BYTES = 64 << 20
_ANY = -1
_PORTS = (("pcm", "FP32"), ("rows", "INT64"))
_OUTPUT = "embeddings"


class RemoteAnswerWrong(Exception):
    """The server's answer is not one of this protocol, or not to what was asked."""


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """What a server says of its model."""

    server: str
    """Name and version of the server."""
    dim: int
    """Length of an embedding; -1: any."""
    most_windows: int
    """Of a batch; 0: it does not say."""


class RemoteClient:
    """Asks for one model; any number of threads may.

    Args:
        address: HOST:PORT.
        model: Name there.
    """

    def __init__(self, address: str, model: str) -> None:
        self.address, self.model = address, model
        self._channel = grpc.insecure_channel(
            address,
            options=[
                # A connection of its own, not one that all channels to this address share.
                ("grpc.use_local_subchannel_pool", 1),
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
                # What is sent again, and when, is decided by who asks.
                ("grpc.enable_retries", 0),
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
            ],
        )
        self._stub = GRPCInferenceServiceStub(self._channel)

    def connect(self, deadline_s: float) -> None:
        """Have the connection up, without waiting for its next try; raises grpc.RpcError.

        One that was lost is made again by itself, but in the pauses between tries calls fail.
        """
        request = pb.ServerReadyRequest()
        self._stub.ServerReady(request, timeout=deadline_s, wait_for_ready=True)

    def is_ready(self, deadline_s: float) -> bool:
        """Tell whether server and model can be asked; raises grpc.RpcError."""
        server = self._stub.ServerReady(pb.ServerReadyRequest(), timeout=deadline_s)
        if not server.ready:
            return False
        request = pb.ModelReadyRequest(name=self.model)
        return bool(self._stub.ModelReady(request, timeout=deadline_s).ready)

    def describe(self, deadline_s: float) -> RemoteModel:
        """Ask what the model takes and gives.

        Raises:
            RemoteAnswerWrong: It is not one of windows; says what it is.
            grpc.RpcError: There is no answer.
        """
        server = self._stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=deadline_s)
        request = pb.ModelMetadataRequest(name=self.model)
        metadata = self._stub.ModelMetadata(request, timeout=deadline_s)
        inputs = {one.name: one.datatype for one in metadata.inputs}
        outputs = {one.name: one for one in metadata.outputs}
        if inputs != dict(_PORTS) or _OUTPUT not in outputs:
            named = ", ".join(f"{name} {kind}" for name, kind in inputs.items())
            given = ", ".join(outputs)
            raise RemoteAnswerWrong(
                f"its model takes {named or 'nothing'} and gives {given or 'nothing'}, a model of"
                " windows takes pcm FP32, rows INT64 and gives embeddings"
            )
        dims = list(outputs[_OUTPUT].shape)
        config = self._stub.ModelConfig(
            pb.ModelConfigRequest(name=self.model), timeout=deadline_s
        ).config
        return RemoteModel(
            server=f"{server.name} {server.version}",
            dim=dims[-1] if dims else _ANY,
            most_windows=max(0, config.max_batch_size),
        )

    def embed(self, pcm: Float32, rows: Int64, deadline_s: float) -> Float32:
        """Ask for the embeddings of float32[B, N] and int64[B, T]: float32[B, dim].

        Raises:
            RemoteAnswerWrong: The answer is none.
            grpc.RpcError: There is no answer in time, or a refusal.
        """
        request = pb.ModelInferRequest(model_name=self.model)
        for (name, kind), shape in zip(_PORTS, (pcm.shape, rows.shape), strict=True):
            request.inputs.add(name=name, datatype=kind, shape=shape)
        request.outputs.add(name=_OUTPUT)
        request.raw_input_contents.append(pcm.astype("<f4", copy=False).tobytes())
        request.raw_input_contents.append(rows.astype("<i8", copy=False).tobytes())
        return embeddings_of(self._stub.ModelInfer(request, timeout=deadline_s), len(pcm))

    def close(self) -> None:
        """Close the connection; calls on it end."""
        self._channel.close()


def embeddings_of(answer: pb.ModelInferResponse, windows: int) -> Float32:
    """Read float32[windows, dim]; raises RemoteAnswerWrong for anything else."""
    names = [one.name for one in answer.outputs]
    if names != [_OUTPUT] or len(answer.raw_output_contents) != 1:
        raise RemoteAnswerWrong(f"an answer has {names} with {len(answer.raw_output_contents)}")
    (output,), (content,) = answer.outputs, answer.raw_output_contents
    shape = tuple(output.shape)
    fits = len(shape) == 2 and shape[0] == windows and shape[1] > 0
    if output.datatype != "FP32" or not fits or len(content) != 4 * math.prod(shape):
        told = f"{output.datatype} {list(shape)} in {len(content)} bytes"
        raise RemoteAnswerWrong(f"an answer for {windows} windows has {told}")
    return np.frombuffer(content, "<f4").reshape(shape).astype(np.float32)
