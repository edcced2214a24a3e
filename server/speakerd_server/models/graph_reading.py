"""Reads an ONNX file that somebody else made: whole, in one piece, and checked for what it takes.

Nothing in the file is executed here, and no file beside it is read but its own weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto, checker
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from speakerd_server.errors import GraphRefused

SAMPLE_RATE_HZ = 16000

_LFS = b"version https://git-lfs"
_DYNAMIC = "export it with the axes of batch and frames dynamic"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where features go in and embeddings come out."""

    features: str
    """Name of the input float32[B, T, M]."""
    embeddings: str
    """Name of the output float32[B, D]: the last one of two."""


def read_graph(path: Path) -> ModelProto:
    """Read an ONNX file, with weights that are in files beside it.

    Raises:
        GraphRefused: It cannot be read, is no ONNX, or its weights are not beside it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphRefused(path, f"it cannot be read ({error.strerror})") from error
    if content.startswith(_LFS):
        raise GraphRefused(path, "it is a pointer of Git LFS; fetch the file itself (git lfs pull)")
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise GraphRefused(path, f"it is no ONNX file, or a truncated one ({error})") from error
    if not (model.ir_version and model.graph.node and model.graph.output):
        raise GraphRefused(path, "it is no ONNX file: it holds no network")
    _bring_in_weights(path, model)
    return model


def find_ports(path: Path, model: ModelProto, mel_bins: int) -> Ports:
    """Find the input and output of a network of embeddings.

    Args:
        path: What an error names.
        model: As read.
        mel_bins: Features of a frame that the front end gives.

    Raises:
        GraphRefused: The network takes or gives something else.
    """
    _refuse_other_rate(path, model)
    given = {tensor.name for tensor in model.graph.initializer}
    inputs = [port for port in model.graph.input if port.name not in given]
    names = [port.name for port in inputs]
    if set(names) == {"pcm", "rows"}:
        raise GraphRefused(path, "it takes pcm and rows: it is a bundle's already; use its folder")
    if len(inputs) != 1:
        raise GraphRefused(path, f"it has {len(inputs)} inputs ({_list(names)}), one is wanted")
    _check_input(path, inputs[0], mel_bins)
    return Ports(names[0], _embeddings(path, list(model.graph.output)))


def dims(port: ValueInfoProto) -> list[int | str] | None:
    """Give the sizes of an input or output, names for dynamic ones; None if not even the rank."""
    tensor = port.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    ]


def _bring_in_weights(path: Path, model: ModelProto) -> None:
    for tensor in _tensors(model):
        if not uses_external_data(tensor):
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        if not location or Path(location).name != location or "\\" in location:
            raise GraphRefused(path, f"its weights are in {location!r}, not in the same folder")
        if not (path.parent / location).is_file():
            raise GraphRefused(path, f"its weights are in {location}, which is not beside it")
        try:
            load_external_data_for_tensor(tensor, str(path.parent))
        except (OSError, ValueError, checker.ValidationError) as error:
            problem = f"its weights in {location} cannot be read ({_first_line(error)})"
            raise GraphRefused(path, problem) from error


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Give every array of a model, those inside nodes and functions too."""
    yield from _tensors_of_graph(model.graph)
    for function in model.functions:
        for node in function.node:
            for attribute in node.attribute:
                yield from _tensors_of_attribute(attribute)


def _tensors_of_graph(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from _tensors_of_attribute(attribute)


def _tensors_of_attribute(attribute: AttributeProto) -> Iterator[TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        yield from _tensors_of_graph(graph)


def _refuse_other_rate(path: Path, model: ModelProto) -> None:
    """Refuse what says of itself, as files for other toolkits do, that it is for another rate."""
    said = {entry.key: entry.value for entry in model.metadata_props}.get("sample_rate", "")
    if said and said != str(SAMPLE_RATE_HZ):
        raise GraphRefused(path, f"it is for {said} Hz; there is none but {SAMPLE_RATE_HZ} Hz")


def _check_input(path: Path, port: ValueInfoProto, mel_bins: int) -> None:
    kind, shape = port.type.tensor_type.elem_type, dims(port)
    if kind != TensorProto.FLOAT:
        known = kind in TensorProto.DataType.values()
        named = TensorProto.DataType.Name(kind).lower() if known else f"of the unknown type {kind}"
        hint = "; a network of whole-number samples has its own front end" if "int" in named else ""
        raise GraphRefused(path, f"its input {port.name} is {named}, float32 is wanted{hint}")
    if shape is None:
        return
    shown = f"its input {port.name} is {_shape(shape)}"
    if len(shape) == 2 or (len(shape) == 3 and shape[1] == 1 and shape[2] != mel_bins):
        raise GraphRefused(
            path, f"{shown}: a network of raw samples; only one of features [B, T, {mel_bins}] fits"
        )
    if len(shape) != 3:
        raise GraphRefused(path, f"{shown}, features [B, T, {mel_bins}] are wanted")
    _check_sizes(path, shape, shown, mel_bins)


def _check_sizes(path: Path, shape: list[int | str], shown: str, mel_bins: int) -> None:
    batch, frames, features = shape
    wanted = f"the front end gives [B, T, {mel_bins}]"
    if frames == mel_bins and features != mel_bins:
        raise GraphRefused(path, f"{shown} and {wanted}; export it with frames before features")
    if isinstance(features, int) and features != mel_bins:
        raise GraphRefused(path, f"{shown} and {wanted}; describe its own front end in a TOML file")
    if isinstance(frames, int):
        raise GraphRefused(path, f"{shown}: {frames} frames and no other number; {_DYNAMIC}")
    if isinstance(batch, int) and batch != 1:
        raise GraphRefused(path, f"{shown}: batches of {batch} and no other; {_DYNAMIC}")


def _embeddings(path: Path, outputs: list[ValueInfoProto]) -> str:
    """Give the name of the output of embeddings; the last of two, as WeSpeaker has it."""
    shown = _list([f"{port.name} {_shape(dims(port))}" for port in outputs])
    if len(outputs) > 2:
        raise GraphRefused(path, f"it has {len(outputs)} outputs ({shown}), one or two are wanted")
    fitting = [
        port.name
        for port in outputs
        if port.type.tensor_type.elem_type == TensorProto.FLOAT
        and len(dims(port) or ("B", "D")) == 2
    ]
    if not fitting:
        raise GraphRefused(path, f"no output is float32 embeddings [B, D]; it gives {shown}")
    return fitting[-1]


def _shape(shape: list[int | str] | None) -> str:
    return "of any shape" if shape is None else f"[{', '.join(map(str, shape))}]"


def _list(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
