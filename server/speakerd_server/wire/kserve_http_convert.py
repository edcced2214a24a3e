"""JSON and binary data of KServe's inference protocol over HTTP to values and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from speakerd_server.calls.inference_models import (
    MOST_DIMENSIONS,
    MOST_PARAMETERS,
    check_count,
)
from speakerd_server.calls.inference_values import (
    NO_PARAMETERS,
    InferenceReply,
    InferenceRequest,
    ModelConfiguration,
    ModelDescription,
    ModelListing,
    ModelStatistics,
    Parameters,
    Spent,
    Tensor,
    TensorDescription,
    WantedOutput,
)
from speakerd_server.errors import BodyInvalid, TensorInvalid
from speakerd_server.wire.kserve_http_json import Numbers, packed

_LARGEST = 2**63 - 1
_DTYPES: Mapping[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
Json = dict[str, Any]


async def request(model: str, version: str, said: Json, binary: bytes) -> InferenceRequest:
    """Read what is to be inferred: `binary` are the values that follow the JSON.

    Raises BodyInvalid for JSON of another form, TensorInvalid where values are missing or left.
    """
    inputs, view, used = [], memoryview(binary), 0
    for one in _objects(said, "inputs"):
        name, datatype = _text(one, "name"), _text(one, "datatype")
        parameters = _parameters(one)
        size = parameters.get("binary_data_size")
        data: bytes | memoryview = b""
        if size is not None:
            data = view[used : used + _checked_size(size, one, len(view) - used)]
            used += len(data)
        elif "data" in one:
            if not isinstance(one["data"], Numbers):
                raise TensorInvalid(name, f"'data' of '{name}' is no list of numbers")
            data = await packed(one["data"], datatype)
        elif "shared_memory_region" not in parameters:
            problem = f"must have 'data' or 'binary_data_size' for input '{name}'"
            raise TensorInvalid(name, problem)
        inputs.append(Tensor(name, datatype, _shape(one), data, parameters))
    if used != len(view):
        problem = f"unexpected additional input data for model '{model}': {len(view) - used} bytes"
        raise TensorInvalid("binary_data_size", problem)
    outputs = [WantedOutput(_text(one, "name"), _parameters(one)) for one in _outputs(said)]
    parameters = _parameters(said)
    id_ = _text(said, "id") if "id" in said else ""
    return InferenceRequest(model, version, tuple(inputs), tuple(outputs), id_, parameters)


def reply(asked: InferenceRequest, value: InferenceReply) -> tuple[bytes, int | None]:
    """Give what was inferred, and where JSON ends and binary data begins; None: all is JSON."""
    outputs, binary = [], []
    for one in value.outputs:
        said: Json = {"name": one.name, "datatype": one.datatype, "shape": one.shape}
        if _wants_binary(asked, one.name):
            said["parameters"] = {"binary_data_size": memoryview(one.data).nbytes}
            binary.append(one.data)
        else:
            said["data"] = np.frombuffer(one.data, _DTYPES[one.datatype]).tolist()
        outputs.append(said)
    head: Json = {"model_name": value.model, "model_version": value.version, "outputs": outputs}
    if value.id:
        head["id"] = value.id
    text = written(head)
    return (b"".join([text, *binary]), len(text)) if binary else (text, None)


def written(value: object) -> bytes:
    """Write JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def metadata(value: ModelDescription) -> Json:
    """Give what a model takes and gives."""
    return {
        "name": value.name,
        "versions": value.versions,
        "platform": value.platform,
        "inputs": [_tensor(one) for one in value.inputs],
        "outputs": [_tensor(one) for one in value.outputs],
    }


def config(value: ModelConfiguration) -> Json:
    """Give how a model is served, as Triton writes it: without the batch in the shapes."""
    described = value.description
    return {
        "name": described.name,
        "platform": "",
        "backend": described.platform,
        "version_policy": {"specific": {"versions": described.version_numbers}},
        "max_batch_size": value.maximum_batch,
        "input": [_configured(one) for one in described.inputs],
        "output": [_configured(one) for one in described.outputs],
        "instance_group": [_group(one, number) for number, one in enumerate(value.devices)],
        "dynamic_batching": {"preferred_batch_size": value.preferred_batches},
    }


def statistics(value: ModelStatistics) -> Json:
    """Give the counts of a model."""
    return {
        "name": value.name,
        "version": value.version,
        "last_inference": value.last_inference_ms,
        "inference_count": value.inference_count,
        "execution_count": value.execution_count,
        "inference_stats": {
            "success": _spent(value.success),
            "fail": _spent(value.fail),
            "queue": _spent(value.queue),
            "compute_input": _spent(value.compute_input),
            "compute_infer": _spent(value.compute_infer),
            "compute_output": _spent(value.compute_output),
            "cache_hit": _spent(Spent()),
            "cache_miss": _spent(Spent()),
        },
        "batch_stats": [
            {
                "batch_size": windows,
                "compute_input": _spent(Spent()),
                "compute_infer": _spent(spent),
                "compute_output": _spent(Spent()),
            }
            for windows, spent in value.batches.items()
        ],
    }


def listing(value: ModelListing) -> Json:
    """Give one line of the list of models."""
    return {
        "name": value.name,
        "version": value.version,
        "state": value.state,
        "reason": value.reason,
    }


def _objects(said: Json, name: str) -> list[Json]:
    found = said.get(name)
    if not _is_objects(found):
        raise BodyInvalid(f"must have '{name}', a list of objects")
    check_count(name, len(found))
    return found


def _is_objects(value: object) -> TypeGuard[list[Json]]:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _outputs(said: Json) -> list[Json]:
    return _objects(said, "outputs") if "outputs" in said else []


def _text(said: Json, name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str):
        raise BodyInvalid(f"must have '{name}', a string, where it says what to infer")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BodyInvalid(f"has a '{name}' that is no Unicode") from None
    return value


def _shape(said: Json) -> tuple[int, ...]:
    sizes = said.get("shape")
    if not isinstance(sizes, list) or not all(
        type(one) is int and abs(one) <= _LARGEST for one in sizes
    ):
        raise BodyInvalid("must have 'shape', a list of whole numbers, for every input")
    check_count("dimensions", len(sizes), MOST_DIMENSIONS)
    return tuple(sizes)


def _parameters(said: Json) -> Parameters:
    value: Mapping[str, Any] = said.get("parameters", NO_PARAMETERS)
    if not isinstance(value, Mapping) or not all(
        isinstance(one, bool | int | float | str) for one in value.values()
    ):
        raise BodyInvalid("must have 'parameters' that are strings, numbers or booleans")
    check_count("parameters", len(value), MOST_PARAMETERS)
    return value


def _checked_size(size: object, said: Json, left_bytes: int) -> int:
    """Give the bytes of an input; raises TensorInvalid where they are not there."""
    name = said["name"]
    if type(size) is not int or not 0 <= size <= left_bytes:
        problem = (
            f"'binary_data_size' of input '{name}' is {str(size)[:32]}, and {left_bytes} bytes are"
            " left after the JSON, whose length Inference-Header-Content-Length gives"
        )
        raise TensorInvalid(name, problem)
    if "data" in said:
        raise TensorInvalid(name, f"input '{name}' has both 'data' and 'binary_data_size'")
    return size


def _wants_binary(asked: InferenceRequest, name: str) -> bool:
    for one in asked.outputs:
        if one.name == name and "binary_data" in one.parameters:
            return bool(one.parameters["binary_data"])
    return bool(asked.parameters.get("binary_data_output", False))


def _tensor(value: TensorDescription) -> Json:
    return {"name": value.name, "datatype": value.datatype, "shape": value.shape}


def _configured(value: TensorDescription) -> Json:
    return {
        "name": value.name,
        "data_type": f"TYPE_{value.datatype}",
        "dims": value.shape[1:],
    }


def _group(device: str, number: int) -> Json:
    kind, _, gpu = device.partition(":")
    on_gpu = kind == "gpu"
    return {
        "name": f"{device}_{number}",
        # Triton knows no kind for an engine elsewhere.
        "kind": "KIND_GPU" if on_gpu else "KIND_CPU",
        "count": 1,
        "gpus": [int(gpu)] if on_gpu else [],
    }


def _spent(value: Spent) -> Json:
    return {"count": value.count, "ns": value.ns}
