"""Whether a server offers the model that a load wants to ask, told by its metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc.aio
from speakerd.kserve import inference_pb2 as pb

from speakerd_client.errors import InvalidLoad, NotFound, NotOffered, NotReachable, SpeakerdError
from speakerd_client.load.http_answer import Answer, NotHttp
from speakerd_client.load.http_connection import HttpConnection, http_request
from speakerd_client.load.kserve import (
    GRPC,
    INPUT,
    SERVICE,
    error_words,
    grpc_error,
    http_error,
    http_path,
    named_model,
    wrong_protocol,
)
from speakerd_client.status import CONNECTION_LOST, status_of

ANSWER_S = 10.0
"""Longest wait for an answer."""
_UNKNOWN = (400, 404)
"""Triton has said both of a model that it does not have."""


async def require_model(kind: str, address: str, model: str) -> None:
    """Ask for the model's metadata.

    Raises:
        NotReachable: No server answers.
        NotOffered: What answers speaks another protocol.
        NotFound: It has no such model.
        InvalidLoad: The model does not take samples.
        SpeakerdError: It refused for another reason.
    """
    asked = _inputs_over_grpc if kind == GRPC else _inputs_over_http
    inputs = await asked(address, model)
    if inputs != [(INPUT, "FP32")]:
        told = ", ".join(f"{name} {datatype}" for name, datatype in inputs) or "nothing"
        name = "/".join(filter(None, named_model(model)))
        raise InvalidLoad(f"the model {name} at {address} takes {told}; a load sends {INPUT} FP32")


async def _inputs_over_grpc(address: str, model: str) -> list[tuple[str, str]]:
    name, version = named_model(model)
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary(
            f"{SERVICE}/ModelMetadata",
            request_serializer=pb.ModelMetadataRequest.SerializeToString,
            response_deserializer=pb.ModelMetadataResponse.FromString,
        )
        try:
            found = await call(
                pb.ModelMetadataRequest(name=name, version=version), timeout=ANSWER_S
            )
        except grpc.aio.AioRpcError as error:
            trailers = tuple(error.trailing_metadata() or ())
            named = grpc_error(status_of(error.code(), error.details(), trailers), address)
            if isinstance(named, NotReachable) and await _speaks_http(address):
                raise wrong_protocol(address, "HTTP", "--kserve http") from error
            raise named from error
    return [(each.name, each.datatype) for each in found.inputs]


async def _inputs_over_http(address: str, model: str) -> list[tuple[str, str]]:
    try:
        answer = await _got(address, http_path(model))
    except NotHttp as error:
        raise wrong_protocol(address, "another protocol, such as gRPC", "--kserve grpc") from error
    except NotReachable as error:
        if error.reason != CONNECTION_LOST:
            raise
        spoken = "no HTTP: it ended the connection without an answer"
        raise wrong_protocol(address, spoken, "--kserve grpc") from error
    status = answer.head.status
    if status in _UNKNOWN and (words := error_words(answer)):
        raise NotFound(words, reason=http_error(answer).reason)
    inputs = _inputs(answer.body) if status == 200 else None
    if inputs is None and (status == 200 or status in _UNKNOWN):
        text = f"what answers at {address} does not offer KServe's inference protocol over HTTP"
        raise NotOffered(f"{text} (GET {http_path(model)}: HTTP status {status})")
    if inputs is None:
        raise http_error(answer)
    return inputs


def _inputs(body: bytes) -> list[tuple[str, str]] | None:
    """Give name and datatype of each input that metadata tells; None where that is no metadata."""
    try:
        inputs: Any = json.loads(body)["inputs"]
        if not isinstance(inputs, Sequence):
            return None
        return [(str(each["name"]), str(each["datatype"])) for each in inputs]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


async def _got(address: str, path: str) -> Answer:
    connection = HttpConnection(address, ANSWER_S)
    try:
        return await connection.ask(http_request("GET", address, path))
    finally:
        connection.close()


async def _speaks_http(address: str) -> bool:
    try:
        await _got(address, "/v2/health/live")
    except SpeakerdError:
        return False
    return True
