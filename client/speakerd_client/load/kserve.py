"""KServe's inference protocol: what a load sends, and the names of what comes back otherwise."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from speakerd.kserve.inference_pb2 import ModelInferRequest

from speakerd_client import errors
from speakerd_client.audio import Audio, AudioFormat, Encoding
from speakerd_client.load.http_answer import Answer
from speakerd_client.load.http_connection import http_request
from speakerd_client.status import Status, error_from

GRPC, HTTP = "kserve-grpc", "kserve-http"
KSERVE_KINDS = (GRPC, HTTP)
MODEL = "speaker"
"""What is asked where no other model is named."""
FORMAT = AudioFormat(Encoding.FLOAT32LE, 16_000)
"""Of the audio in every request."""
INPUT = "WAV"
SERVICE = "/inference.GRPCInferenceService"
REASON_FIELD = "speakerd-reason"
_NOT_CONNECTED = re.compile("failed to connect|dns resolution|errors resolving", re.IGNORECASE)
_STATUSES: dict[int, type[errors.SpeakerdError]] = {
    400: errors.InvalidRequest,
    404: errors.NotFound,
    405: errors.NotOffered,
    408: errors.TooSlow,
    409: errors.NotPossible,
    413: errors.InvalidRequest,
    429: errors.Exhausted,
    501: errors.NotOffered,
    502: errors.Unavailable,
    503: errors.Unavailable,
    504: errors.TooSlow,
}


def named_model(name: str) -> tuple[str, str]:
    """Give name and version of NAME or NAME/VERSION; without any, of MODEL."""
    model, _, version = (name or MODEL).partition("/")
    return model, version


def grpc_inference(model: str, audio: Audio) -> ModelInferRequest:
    """Ask for the embedding of one recording over gRPC."""
    name, version = named_model(model)
    tensor = ModelInferRequest.InferInputTensor(
        name=INPUT, datatype="FP32", shape=[1, len(audio.content) // 4]
    )
    return ModelInferRequest(
        model_name=name,
        model_version=version,
        inputs=[tensor],
        raw_input_contents=[audio.content],
    )


def http_inference(address: str, model: str, audio: Audio) -> bytes:
    """Ask for the embedding of one recording over HTTP, samples and embedding as binary data."""
    size_bytes = len(audio.content)
    tensor = {
        "name": INPUT,
        "datatype": "FP32",
        "shape": [1, size_bytes // 4],
        "parameters": {"binary_data_size": size_bytes},
    }
    wanted = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    header = json.dumps(wanted, separators=(",", ":")).encode()
    return http_request(
        "POST",
        address,
        f"{http_path(model)}/infer",
        header + audio.content,
        Content_Type="application/octet-stream",
        Inference_Header_Content_Length=str(len(header)),
    )


def http_path(model: str) -> str:
    """Give the path of a model."""
    name, version = named_model(model)
    path = f"/v2/models/{quote(name, safe='')}"
    return f"{path}/versions/{quote(version, safe='')}" if version else path


def grpc_error(status: Status, address: str) -> errors.SpeakerdError:
    """Name how a call ended; other servers say UNAVAILABLE of what is a state of theirs."""
    error = error_from(status, address)
    if error.reason:
        return error
    if status.code == "UNAVAILABLE":
        if not _NOT_CONNECTED.match(status.message):
            return errors.Unavailable(status.message, code=status.code)
        if "http1" in status.message:
            return wrong_protocol(address, "HTTP", "--kserve http")
        text = f"no server answers at {address} ({status.message})"
        return errors.NotReachable(text, code=status.code)
    if status.code == "UNIMPLEMENTED":
        text = f"what answers at {address} does not offer KServe's inference protocol over gRPC"
        return errors.NotOffered(f"{text} ({status.message})", code=status.code)
    return error


def http_error(answer: Answer) -> errors.SpeakerdError:
    """Name what an answer with another status than 200 says."""
    status = answer.head.status
    kind = _STATUSES.get(status, errors.ServerFailed)
    words = error_words(answer) or "without a word on why"
    retry_after = answer.head.fields.get("retry-after", "")
    return kind(
        f"{words} (HTTP status {status})",
        reason=answer.head.fields.get(REASON_FIELD, ""),
        retry_after_s=float(retry_after) if re.fullmatch(r"[0-9]{1,6}", retry_after) else None,
    )


def error_words(answer: Answer) -> str:
    """Give the text of an answer {"error": TEXT}, or nothing for another body."""
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    text = said.get("error") if isinstance(said, dict) else None
    return text if isinstance(text, str) else ""


def wrong_protocol(address: str, spoken: str, instead: str) -> errors.NotOffered:
    """Say that another protocol is spoken at the address."""
    return errors.NotOffered(
        f"what answers at {address} speaks {spoken}: take {instead}, or the address of the other"
        " port (speakerd and Triton have gRPC on 8001 and HTTP on 8000, unless told otherwise)"
    )
