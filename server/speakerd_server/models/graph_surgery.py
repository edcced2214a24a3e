"""Joins a front end and somebody's network from features into one graph from PCM to embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, TensorProto, checker, helper, inliner, numpy_helper
from onnx.version_converter import convert_version

from speakerd_server.errors import GraphRefused
from speakerd_server.models.embedder import add_front_end
from speakerd_server.models.front_end import FrontEnd
from speakerd_server.models.graph import OPSET, GraphBuilder
from speakerd_server.models.graph_reading import Ports
from speakerd_server.values import Float32

LOWEST_OPSET = 13
"""Of ONNX's own operators: the first in which every node of the front end is what it is now."""

_PREFIX = "network/"
_LOWEST_IR = 8
_FEATURES = "features"
_OWN_DOMAINS = ("", "ai.onnx")


def with_dynamic_sizes(model: ModelProto, ports: Ports, mel_bins: int) -> ModelProto:
    """Copy a network so that its input is float32[B, T, mel_bins] for any B and T.

    A batch of 1 that only the input's shape fixes becomes any; whether the nodes allow it must be
    tried. Outputs but the embeddings and the shapes noted inside are left out.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    del graph.value_info[:]
    graph.ClearField("input")
    graph.ClearField("output")
    shape: list[str | int | None] = ["B", "T", mel_bins]
    features = helper.make_tensor_value_info(ports.features, TensorProto.FLOAT, shape)
    embeddings = helper.make_tensor_value_info(ports.embeddings, TensorProto.FLOAT, None)
    graph.input.append(features)
    graph.output.append(embeddings)
    copy.ir_version = max(model.ir_version, _LOWEST_IR)
    return copy


def opset_of(model: ModelProto) -> int:
    """Give the version of ONNX's own operators that a model uses."""
    return max((one.version for one in model.opset_import if one.domain in _OWN_DOMAINS), default=1)


def join(
    path: Path,
    front_end: FrontEnd,
    network: ModelProto,
    ports: Ports,
    mean_vec: Float32 | None,
    dim: int,
    metadata: Mapping[str, str],
) -> bytes:
    """Give the ONNX file of front end, frame rows and network, with the network's own opset.

    Args:
        path: What an error names.
        front_end: Kept in float32.
        network: Of dynamic sizes, from features float32[B, T, M].
        ports: Of the network.
        mean_vec: float32[D], taken off the embeddings; None for nothing.
        dim: D.
        metadata: Written to the file's properties, after the network's own.

    Returns:
        The serialised model: inputs pcm float32[B, N] and rows int64[B, T], output embeddings
        float32[B, D].

    Raises:
        GraphRefused: The network cannot be brought to an opset that the front end can have.
    """
    network = _modern(path, _inlined(network))
    head = _head(path, front_end, opset_of(network))
    body = _prefixed(network.graph)
    nodes = [
        *head.graph.node,
        helper.make_node("Identity", [_FEATURES], [_PREFIX + ports.features], name="to_network"),
        *body.node,
    ]
    initializers = [*head.graph.initializer, *body.initializer]
    last = _PREFIX + ports.embeddings
    if mean_vec is None:
        nodes.append(helper.make_node("Identity", [last], ["embeddings"], name="embeddings"))
    else:
        initializers.append(numpy_helper.from_array(mean_vec, "mean_vec"))
        nodes.append(helper.make_node("Sub", [last, "mean_vec"], ["embeddings"], name="embeddings"))
    graph = helper.make_graph(
        nodes,
        "speakerd",
        list(head.graph.input),
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", dim])],
        initializer=initializers,
        sparse_initializer=list(body.sparse_initializer),
    )
    return _whole(path, graph, network, metadata)


def with_features_shown(content: bytes, mel_bins: int) -> bytes:
    """Give a joined graph a second output, the features float32[B, T, M] of its front end."""
    model = onnx.load_model_from_string(content)
    shape: list[str | int | None] = ["B", "T", mel_bins]
    shown = helper.make_tensor_value_info(_FEATURES, TensorProto.FLOAT, shape)
    model.graph.output.append(shown)
    return model.SerializeToString()


def _whole(
    path: Path, graph: GraphProto, network: ModelProto, metadata: Mapping[str, str]
) -> bytes:
    model = helper.make_model(
        graph,
        opset_imports=list(network.opset_import),
        ir_version=max(network.ir_version, _needed_ir(network)),
        producer_name="speakerd",
    )
    properties = {entry.key: entry.value for entry in network.metadata_props}
    helper.set_model_props(model, properties | dict(metadata))
    try:
        checker.check_model(model)
        return model.SerializeToString(deterministic=True)
    except (checker.ValidationError, ValueError) as error:
        raise GraphRefused(path, f"it makes no valid graph with the front end ({error})") from error


def _head(path: Path, front_end: FrontEnd, opset: int) -> ModelProto:
    """Give the graph from pcm and rows to features [B, T, M], at an opset."""
    graph = GraphBuilder()
    planes = add_front_end(graph, front_end)
    squeezed = graph.op("Squeeze", planes, graph.integers(1))
    features = graph.op("Transpose", squeezed, perm=[0, 2, 1])
    inputs = [
        helper.make_tensor_value_info("pcm", TensorProto.FLOAT, ["B", "N"]),
        helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "T"]),
    ]
    mel_bins = front_end.mel.shape[0]
    content = graph.model(inputs, {_FEATURES: (features, ["B", "T", mel_bins])}, {})
    model = onnx.load_model_from_string(content)
    return model if opset <= OPSET else _converted(path, model, opset)


def _modern(path: Path, network: ModelProto) -> ModelProto:
    if opset_of(network) >= LOWEST_OPSET:
        return network
    return _converted(path, network, LOWEST_OPSET)


def _converted(path: Path, model: ModelProto, opset: int) -> ModelProto:
    try:
        return convert_version(model, opset)
    # The converter's failures share no base class but Exception.
    except Exception as error:
        raise GraphRefused(
            path,
            f"opset {opset_of(model)} cannot be turned into {opset} ({error});"
            f" export it with opset {LOWEST_OPSET} to {OPSET}",
        ) from error


def _inlined(model: ModelProto) -> ModelProto:
    return inliner.inline_local_functions(model) if model.functions else model


def _needed_ir(model: ModelProto) -> int:
    return helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)


def _prefixed(graph: GraphProto) -> GraphProto:
    """Copy a graph with a prefix on every name, also in the graphs inside it.

    As every name gets it, what refers to what stays the same.
    """
    copy = GraphProto()
    copy.CopyFrom(graph)
    _prefix(copy)
    return copy


def _prefix(graph: GraphProto) -> None:
    for port in (*graph.input, *graph.output, *graph.value_info):
        port.name = _PREFIX + port.name
    for tensor in graph.initializer:
        tensor.name = _PREFIX + tensor.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = _PREFIX + sparse.values.name
    for node in graph.node:
        (node.name,) = _all_prefixed([node.name])
        node.input[:] = _all_prefixed(node.input)
        node.output[:] = _all_prefixed(node.output)
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _prefix(inner)


def _all_prefixed(names: Iterable[str]) -> list[str]:
    """Prefix names; an empty one is an argument left out, or a node that has none."""
    return [_PREFIX + name if name else name for name in names]


def weights_precision(model: ModelProto) -> str:
    """Tell how most numbers of a network's matrices are stored: float32, float16, int8."""
    kinds: dict[int, str] = {
        TensorProto.FLOAT16: "float16",
        TensorProto.BFLOAT16: "bfloat16",
        TensorProto.INT8: "int8",
        TensorProto.UINT8: "int8",
    }
    counts: dict[str, int] = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) > 1:
            kind = kinds.get(tensor.data_type, "float32")
            counts[kind] = counts.get(kind, 0) + int(np.prod(tensor.dims))
    return max(counts, key=lambda kind: counts[kind], default="float32")
