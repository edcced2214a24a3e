"""Messages of KServe's inference protocol to values and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from speakerd.kserve import inference_pb2 as pb

from speakerd_server.calls.inference_models import (
    MOST_DIMENSIONS,
    MOST_PARAMETERS,
    MOST_SINGLE_VALUES,
    check_count,
)
from speakerd_server.calls.inference_values import (
    NO_PARAMETERS,
    InferenceReply,
    InferenceRequest,
    ModelConfiguration,
    ModelDescription,
    ModelStatistics,
    Parameters,
    Spent,
    Tensor,
    TensorDescription,
    WantedOutput,
)
from speakerd_server.errors import TensorInvalid

_TYPED: Mapping[str, tuple[str, np.dtype[Any]]] = {
    "FP32": ("fp32_contents", np.dtype("<f4")),
    "INT64": ("int64_contents", np.dtype("<i8")),
}
_DATA_TYPES = {"FP32": pb.TYPE_FP32, "INT64": pb.TYPE_INT64}


def request(message: pb.ModelInferRequest) -> InferenceRequest:
    """Read what is to be inferred; raises TensorInvalid where contents and inputs do not fit."""
    check_count("inputs", len(message.inputs))
    check_count("outputs", len(message.outputs))
    return InferenceRequest(
        model=message.model_name,
        version=message.model_version,
        inputs=_inputs(message),
        outputs=tuple(WantedOutput(one.name, _parameters(one)) for one in message.outputs),
        id=message.id,
        parameters=_parameters(message),
    )


def reply(value: InferenceReply) -> pb.ModelInferResponse:
    """Give what was inferred; the values are raw, for clients read no others."""
    return pb.ModelInferResponse(
        model_name=value.model,
        model_version=value.version,
        id=value.id,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=one.name, datatype=one.datatype, shape=one.shape
            )
            for one in value.outputs
        ],
        raw_output_contents=[bytes(one.data) for one in value.outputs],
    )


def metadata(value: ModelDescription) -> pb.ModelMetadataResponse:
    """Give what a model takes and gives."""
    return pb.ModelMetadataResponse(
        name=value.name,
        versions=value.versions,
        platform=value.platform,
        inputs=map(_tensor, value.inputs),
        outputs=map(_tensor, value.outputs),
    )


def config(value: ModelConfiguration) -> pb.ModelConfigResponse:
    """Give how a model is served, as Triton writes it: without the batch in the shapes."""
    described = value.description
    return pb.ModelConfigResponse(
        config=pb.ModelConfig(
            name=described.name,
            backend=described.platform,
            version_policy=pb.ModelVersionPolicy(
                specific=pb.ModelVersionPolicy.Specific(versions=described.version_numbers)
            ),
            max_batch_size=value.maximum_batch,
            input=[
                pb.ModelInput(
                    name=one.name, data_type=_DATA_TYPES[one.datatype], dims=one.shape[1:]
                )
                for one in described.inputs
            ],
            output=[
                pb.ModelOutput(
                    name=one.name, data_type=_DATA_TYPES[one.datatype], dims=one.shape[1:]
                )
                for one in described.outputs
            ],
            instance_group=[_group(one, number) for number, one in enumerate(value.devices)],
            dynamic_batching=pb.ModelDynamicBatching(preferred_batch_size=value.preferred_batches),
        )
    )


def statistics(value: ModelStatistics) -> pb.ModelStatistics:
    """Give the counts of a model."""
    return pb.ModelStatistics(
        name=value.name,
        version=value.version,
        last_inference=value.last_inference_ms,
        inference_count=value.inference_count,
        execution_count=value.execution_count,
        inference_stats=pb.InferStatistics(
            success=_spent(value.success),
            fail=_spent(value.fail),
            queue=_spent(value.queue),
            compute_input=_spent(value.compute_input),
            compute_infer=_spent(value.compute_infer),
            compute_output=_spent(value.compute_output),
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=windows, compute_infer=_spent(spent))
            for windows, spent in value.batches.items()
        ],
    )


def _inputs(message: pb.ModelInferRequest) -> tuple[Tensor, ...]:
    raw = iter(message.raw_input_contents)
    is_raw = bool(message.raw_input_contents)
    tensors = []
    for one in message.inputs:
        parameters = _parameters(one)
        check_count("dimensions", len(one.shape), MOST_DIMENSIONS)
        data = b""
        if "shared_memory_region" not in parameters:
            data = _raw(one, message, next(raw, None)) if is_raw else _typed(one)
        tensors.append(Tensor(one.name, one.datatype, tuple(one.shape), data, parameters))
    if next(raw, None) is not None:
        raise _count_differs(message)
    return tuple(tensors)


def _raw(
    tensor: pb.ModelInferRequest.InferInputTensor,
    message: pb.ModelInferRequest,
    data: bytes | None,
) -> bytes:
    if data is None:
        raise _count_differs(message)
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        problem = (
            "contents field must not be specified when using raw_input_contents for"
            f" '{tensor.name}' for model '{message.model_name}'"
        )
        raise TensorInvalid(tensor.name, problem)
    return data


def _count_differs(message: pb.ModelInferRequest) -> TensorInvalid:
    problem = (
        f"expected one of raw_input_contents for each of {len(message.inputs)} inputs of model"
        f" '{message.model_name}', got {len(message.raw_input_contents)}"
    )
    return TensorInvalid("raw_input_contents", problem)


def _typed(tensor: pb.ModelInferRequest.InferInputTensor) -> bytes:
    """Give the values of the field that belongs to the datatype."""
    if tensor.datatype not in _TYPED:
        return b""  # the datatype is refused by the model
    name, dtype = _TYPED[tensor.datatype]
    contents = tensor.contents
    others = [field.name for field, _ in contents.ListFields() if field.name != name]
    if others:
        problem = (
            f"unexpected {others[0]} for input '{tensor.name}': {tensor.datatype} is in {name}"
        )
        raise TensorInvalid(tensor.name, problem)
    values = getattr(contents, name)
    if tensor.datatype == "FP32":
        # Written, they are one tag, their length and the floats themselves: taking them out of that
        # costs a hundredth of going through them, which would hold up every other call.
        size_bytes = 4 * len(values)
        written: bytes = contents.SerializeToString()
        head_bytes = 1 + (size_bytes.bit_length() + 6) // 7
        if len(written) == head_bytes + size_bytes:
            return written[head_bytes:]
    check_count(f"values one by one in {name}", len(values), MOST_SINGLE_VALUES)
    return np.fromiter(values, dtype, len(values)).tobytes()


def _parameters(message: Any) -> Parameters:
    given: Mapping[str, pb.InferParameter] = message.parameters
    if not given:
        return NO_PARAMETERS
    check_count("parameters", len(given), MOST_PARAMETERS)
    found: dict[str, bool | int | float | str] = {}
    for name, value in given.items():
        kind = value.WhichOneof("parameter_choice")
        if kind is not None:
            found[name] = getattr(value, kind)
    return found


def _tensor(value: TensorDescription) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=value.name, datatype=value.datatype, shape=value.shape
    )


def _group(device: str, number: int) -> pb.ModelInstanceGroup:
    kind, _, gpu = device.partition(":")
    if kind == "gpu":
        kind_gpu = pb.ModelInstanceGroup.KIND_GPU
        return pb.ModelInstanceGroup(
            name=f"{device}_{number}", count=1, gpus=[int(gpu)], kind=kind_gpu
        )
    kind_cpu = pb.ModelInstanceGroup.KIND_CPU
    return pb.ModelInstanceGroup(name=f"{device}_{number}", count=1, kind=kind_cpu)


def _spent(value: Spent) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=value.count, ns=value.ns)
