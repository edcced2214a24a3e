"""Writes linear layers of float32 as convolutions by kernels of one.

TensorRT-RTX has no product of two float32 matrices for GPUs of compute capability 7.5 (T4), and
has float32 convolutions: the last layer of a float16 network is such a layer.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_AXES = "speakerd_dense_axes"
_PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0}


def dense_as_convolutions(model: ModelProto) -> None:
    """Replace each plain Gemm [B, in] -> [B, out] whose weights are float32; in place."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[NodeProto] = []
    replaced = False
    for node in model.graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "Gemm" else None
        if weight is None or weight.data_type != TensorProto.FLOAT or not _is_plain(node):
            nodes.append(node)
            continue
        nodes.extend(_convolution(model, node, weight))
        replaced = True
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if replaced:
        model.graph.initializer.append(numpy_helper.from_array(np.array([2, 3]), _AXES))


def _is_plain(node: NodeProto) -> bool:
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    return all(given.get(name, value) == value for name, value in _PLAIN.items())


def _convolution(model: ModelProto, node: NodeProto, weight: TensorProto) -> list[NodeProto]:
    matrix = numpy_helper.to_array(weight)
    if not any(one.name == "transB" and one.i for one in node.attribute):
        matrix = matrix.T
    name = node.output[0]
    kernel = np.ascontiguousarray(matrix[:, :, None, None])
    model.graph.initializer.append(numpy_helper.from_array(kernel, f"{name}_kernel"))
    inputs = [f"{name}_plane", f"{name}_kernel", *node.input[2:]]
    return [
        helper.make_node("Unsqueeze", [node.input[0], _AXES], [f"{name}_plane"]),
        helper.make_node("Conv", inputs, [f"{name}_convolved"]),
        helper.make_node("Squeeze", [f"{name}_convolved", _AXES], [name]),
    ]
