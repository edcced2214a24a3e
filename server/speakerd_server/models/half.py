"""Turns a network into float16 behind a front end that stays float32.

Everything up to the features whose mean is removed stays as it is: squares of samples on the scale
of int16 overflow float16. Behind it a value is float16 where the work is (convolutions, matrices,
what is added and concatenated between them) and float32 where float16 loses: sums over time and
what is subtracted or multiplied for them, since a variance is the small difference of large
numbers; roots, quotients, powers and softmax; and whatever is made of such values alone, which is
a few numbers for each window. Weights that float16 cannot hold keep their node in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from speakerd_server.errors import GraphRefused

_LAYERS = ("Conv", "Gemm", "MatMul", "BatchNormalization", "MaxPool", "Dropout")
_CURVES = ("Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish")
_COMBINING = ("Sub", "Mul")
_JOINING = ("Add", "Max", "Min", "Concat")
_PASSING = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_PICKING = ("Expand", "Gather", "Pad", "Slice", "Split", "Tile")
HALF_OPS = frozenset((*_LAYERS, *_CURVES, *_COMBINING, *_JOINING, *_PASSING, *_PICKING))
"""What computes in float16; every other operator stays float32."""
_SUMMING = ("Pow", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare", "GlobalAveragePool")
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).smallest_normal)
_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def to_half(path: Path, model: ModelProto) -> None:
    """Make the network of a bundle's graph float16, front end and output float32.

    Args:
        path: What an error names.
        model: From pcm and rows to embeddings, its constants folded; changed in place.

    Raises:
        GraphRefused: It has control flow, or no frame rows are picked in it.
    """
    if any(one.type in _GRAPHS for node in model.graph.node for one in node.attribute):
        problem = "it has control flow, which is not turned into float16; use float32"
        raise GraphRefused(path, problem)
    floats = _floats(model)
    halves = _halves(model, floats, _features(path, model))
    _Rewriting(model, floats, halves).run()
    del model.graph.value_info[:]


def _features(path: Path, model: ModelProto) -> str:
    """Name the features of the chosen rows, their mean removed where the front end does so."""
    picked = [node.output[0] for node in model.graph.node if node.op_type == "GatherND"]
    if not picked:
        raise GraphRefused(path, "it picks no frame rows: it is no graph from pcm and rows")
    chosen = picked[0]
    for node in model.graph.node:
        if node.op_type == "Sub" and node.input[0] == chosen:
            return node.output[0]
    return chosen


def _floats(model: ModelProto) -> set[str]:
    """Name every float32 value that is no weight."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
        if value.type.tensor_type.elem_type == TensorProto.FLOAT
    }


def _halves(model: ModelProto, floats: set[str], features: str) -> set[str]:
    """Name the values that become float16."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    summed = _summed(model)
    behind, halves = {features}, set[str]()
    for node in model.graph.node:
        if not behind & set(node.input):
            continue
        behind.update(node.output)
        given = [name for name in node.input if name in floats]
        if node.op_type not in HALF_OPS or not all(name in floats for name in node.output):
            continue
        is_wide = not any(name in halves or name == features for name in given)
        if is_wide or (node.op_type in _COMBINING and summed & set(node.output)):
            continue
        if all(_fits(weights[name]) for name in node.input if name in weights):
            halves.update(node.output)
    return halves


def _summed(model: ModelProto) -> set[str]:
    """Name the values that are summed, some of them after others were taken off or multiplied."""
    summed: set[str] = set()
    for node in reversed(model.graph.node):
        passes = node.op_type in _COMBINING + _PASSING and summed & set(node.output)
        if node.op_type in _SUMMING or passes:
            summed.update(node.input[:1] if node.op_type in _SUMMING + _PASSING else node.input)
    return summed


def _fits(tensor: TensorProto) -> bool:
    """Tell whether float16 holds an array without overflow, or underflow of all of it."""
    if tensor.data_type != TensorProto.FLOAT:
        return True
    largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
    return largest == 0.0 or _SMALLEST <= largest <= _LARGEST


class _Rewriting:
    """Puts casts where float32 and float16 meet, and stores float16 weights as such.

    Args:
        model: Changed in place.
        floats: Values that were float32.
        halves: Those that become float16.
    """

    def __init__(self, model: ModelProto, floats: set[str], halves: set[str]) -> None:
        self._model, self._floats, self._halves = model, floats, halves
        self._weights: Mapping[str, TensorProto] = {
            tensor.name: tensor for tensor in model.graph.initializer
        }
        self._made: dict[tuple[str, bool], str] = {}
        self._nodes: list[NodeProto] = []

    def run(self) -> None:
        """Rewrite all nodes in their order."""
        outputs = {port.name for port in self._model.graph.output}
        for node in list(self._model.graph.node):
            is_half = any(name in self._halves for name in node.output)
            node.input[:] = [self._as(name, half=is_half) for name in node.input]
            shown = [name for name in node.output if name in outputs & self._halves]
            node.output[:] = [f"{name}_half" if name in shown else name for name in node.output]
            self._nodes.append(node)
            self._nodes.extend(_cast(f"{name}_half", name, TensorProto.FLOAT) for name in shown)
        self._replace_nodes()

    def _as(self, name: str, *, half: bool) -> str:
        """Give the name of a value, or weight, in the wanted precision."""
        weight = self._weights.get(name)
        is_float = name in self._floats or (
            weight is not None and weight.data_type == TensorProto.FLOAT
        )
        if not is_float or half == (name in self._halves):
            return name
        key = (name, half)
        if key not in self._made:
            self._made[key] = f"{name}_{'half' if half else 'single'}"
            if weight is not None:
                array = numpy_helper.to_array(weight).astype(np.float16)
                stored = numpy_helper.from_array(array, self._made[key])
                self._model.graph.initializer.append(stored)
            else:
                kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                self._nodes.append(_cast(name, self._made[key], kind))
        return self._made[key]

    def _replace_nodes(self) -> None:
        graph = self._model.graph
        del graph.node[:]
        graph.node.extend(self._nodes)


def _cast(given: str, made: str, kind: int) -> NodeProto:
    return helper.make_node("Cast", [given], [made], name=f"{made}_cast", to=kind)
