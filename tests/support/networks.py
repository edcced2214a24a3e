"""Small ONNX networks from features to embeddings, as others export them, to be imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from speakerd_server.cards import FrontEndDescription
from speakerd_server.errors import GraphRefused
from speakerd_server.models.bundle import ONNX_NAME, shipped_bundle
from speakerd_server.models.front_end import FAMILIES
from speakerd_server.models.importing import Imported, Wanted, import_network

HIDDEN = 12
DIM = 8
WESPEAKER = FAMILIES["wespeaker"]

Sizes = list[int | str]


def small_network(
    *,
    mel_bins: int = 80,
    opset: int = 17,
    ir_version: int = 8,
    name: str = "feats",
    sizes: Sizes | None = None,
    kind: int = TensorProto.FLOAT,
    extra: list[NodeProto] | None = None,
    result: str = "pooled",
) -> ModelProto:
    """Make a network feats[B, T, M] -> embs[B, 8]: a matrix, tanh, the mean over time, a matrix.

    Args:
        mel_bins: M.
        opset: Of ONNX's own operators.
        ir_version: Of the file.
        name: Of the input.
        sizes: That the input says it has.
        kind: Of the input's numbers.
        extra: Nodes between "pooled" and the last matrix.
        result: What they call their result.
    """
    generator = np.random.default_rng(7)
    arrays = {
        "first": generator.standard_normal((mel_bins, HIDDEN)) / np.sqrt(mel_bins),
        "last": generator.standard_normal((HIDDEN, DIM)),
    }
    inside = [
        numpy_helper.from_array(array.astype(np.float32), key) for key, array in arrays.items()
    ]
    axes: dict[str, Any] = {"axes": [1]}
    inputs = ["active"]
    if opset >= 18:
        inside.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
        axes, inputs = {}, ["active", "axes"]
    nodes = [
        helper.make_node("MatMul", [name, "first"], ["hidden"], name="a"),
        helper.make_node("Tanh", ["hidden"], ["active"], name="b"),
        helper.make_node("ReduceMean", inputs, ["pooled"], name="c", keepdims=0, **axes),
        *(extra or []),
        helper.make_node("MatMul", [result, "last"], ["embs"], name="d"),
    ]
    shape: Sizes = ["B", "T", mel_bins] if sizes is None else sizes
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info("embs", TensorProto.FLOAT, ["B", DIM])],
        initializer=inside,
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)


def saved(model: ModelProto, path: Path) -> Path:
    """Write a model as one file."""
    path.write_bytes(model.SerializeToString())
    return path


def constant(model: ModelProto, name: str, array: NDArray[Any]) -> None:
    """Add an array to a model."""
    model.graph.initializer.append(numpy_helper.from_array(array, name))


def saved_outside(model: ModelProto, path: Path, location: str) -> Path:
    """Write a model with its weights in another file of the same folder."""
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def shipped_network() -> ModelProto:
    """Cut the front end off the shipped model: feats[B, T, 80] -> embs[B, 192]."""
    model = onnx.load(shipped_bundle() / ONNX_NAME)
    graph = model.graph
    end = next(i for i, node in enumerate(graph.node) if node.op_type == "Sub")
    features = graph.node[end].output[0]
    del graph.node[: end + 1]
    for node in graph.node:
        node.input[:] = ["feats" if name == features else name for name in node.input]
    used = {name for node in graph.node for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["B", "T", 80]))
    return model


def taken(path: Path, description: FrontEndDescription = WESPEAKER, **wanted: Any) -> Imported:
    """Import a file into the folder beside it."""
    return import_network(path, Wanted(description, path.parent / "models", "mine", **wanted))


def refusal(path: Path, description: FrontEndDescription = WESPEAKER, **wanted: Any) -> str:
    """Give the reason why a file is refused; nothing is written."""
    with pytest.raises(GraphRefused) as refused:
        taken(path, description, **wanted)
    assert refused.value.path == path
    assert not (path.parent / "models").exists()
    return refused.value.problem
